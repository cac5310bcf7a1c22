"""The simulated APIs, one module each: a list of routes over the shared state."""

from __future__ import annotations

from poolhouse.cloud.rehearsal.control_plane import Route
from poolhouse.cloud.rehearsal.services import (
    artifactregistry,
    cloudbuild,
    cloudscheduler,
    containeranalysis,
    iam,
    iap,
    logging,
    monitoring,
    parametermanager,
    project,
    pubsub,
    run,
    secretmanager,
    storage,
    worker_pools,
)

ROUTES: tuple[Route, ...] = (
    *project.ROUTES,
    *iam.ROUTES,
    *iap.ROUTES,
    *pubsub.ROUTES,
    *storage.ROUTES,
    *artifactregistry.ROUTES,
    *cloudbuild.ROUTES,
    *containeranalysis.ROUTES,
    *run.ROUTES,
    *worker_pools.ROUTES,
    *cloudscheduler.ROUTES,
    *monitoring.ROUTES,
    *logging.ROUTES,
    *parametermanager.ROUTES,
    *secretmanager.ROUTES,
)
