"""What a stack of containers is to be: its ports, the variables of docker-compose.yml, how many of each service."""

from __future__ import annotations

import os

from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.compose import file, project
from poolhouse.local.compose import workers as compose_workers
from poolhouse.local.compose.emulator import PubSub
from poolhouse.local.compose.overlay import SETUP
from poolhouse.local.processes import ports
from poolhouse.local.state import StackState
from poolhouse.pipeline import numbers
from poolhouse.pipeline.config import settings, topology
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

USUAL_API_PORT = 8080
#: Names on the emulators, where GOOGLE_CLOUD_PROJECT and BUCKET_NAME give no others.
PROJECT, BUCKET = "poolhouse-local", "poolhouse-local"


def expected(workers: int, *, pipeline_file: str | None, before: StackState | None) -> dict[str, int]:
    """How many containers each service of ours is to have; a worker of a queue that is no more has none.

    Args:
        workers: of each queue; with one, the number that `scale` gave them before holds.
        pipeline_file: another pipeline.toml than the checkout's.
        before: the stack that is brought back.
    """
    queues = worker_services(pipeline_file)
    ours = file.services(os.environ)
    once = [name for name in ours if name not in {SETUP, "pubsub-image", *file.worker_services(ours)}]
    ended = [name for name in file.worker_services(ours) if name not in queues]
    scaled: dict[str, int] = (before.details["services"] or {}) if before is not None and workers == 1 else {}
    numbers = {queue: scaled.get(queue, workers) for queue in queues}
    return {**dict.fromkeys(once, 1), **numbers, **dict.fromkeys(ended, 0)}


def declared(pipeline_file: str | None) -> Topology:
    """The queues of the stack. Raises `ConfigError`."""
    return topology.load(pipeline_file or ROOT / "pipeline.toml")


def worker_services(pipeline_file: str | None) -> list[str]:
    """The worker services that the declared queues ask for."""
    return [compose_workers.service(queue.name) for queue in declared(pipeline_file).queues]


def environment(endpoints: Endpoints, pubsub: PubSub) -> dict[str, str]:
    """The variables of docker-compose.yml."""
    images = project.images(os.environ)
    return {
        "API_PORT": endpoints.api_url.rsplit(":", 1)[1],
        "PUBSUB_PORT": endpoints.pubsub_host.rsplit(":", 1)[1],
        "STORAGE_PORT": endpoints.storage_url.rsplit(":", 1)[1],
        "GOOGLE_CLOUD_PROJECT": endpoints.project,
        "BUCKET_NAME": endpoints.bucket,
        "BACKLOG_SOURCE": pubsub.backlog_source,
        "POOLHOUSE_IMAGE": images["production"],
        "POOLHOUSE_SETUP_IMAGE": images["local"],
        "PUBSUB_IMAGE": pubsub.image or images["pubsub"],
    }


def endpoints(options: UpOptions, before: StackState | None) -> Endpoints:
    """Where the stack will be: as the options or the settings say, as it was before, or anywhere that is free."""
    had = None if before is None else before.endpoints

    def port(wanted: int | None, variable: str, old: str | None, what: str, preferred: int | None = None) -> int:
        chosen = wanted or _port_of(variable)
        before = int(old.rsplit(":", 1)[1]) if old else None
        # Its own container may have it.
        if before and chosen in {None, before}:
            return before
        return ports.choose(wanted=chosen, preferred=preferred, what=what)

    api = port(
        options.api_port, "API_PORT", had.api_url if had else None, "the API (--api-port, API_PORT)", USUAL_API_PORT
    )
    pubsub = port(
        options.pubsub_port, "PUBSUB_PORT", had.pubsub_host if had else None, "Pub/Sub (--pubsub-port, PUBSUB_PORT)"
    )
    storage = port(
        options.storage_port, "STORAGE_PORT", had.storage_url if had else None, "storage (--storage-port, STORAGE_PORT)"
    )
    checked = settings.load(
        google_cloud_project=os.environ.get("GOOGLE_CLOUD_PROJECT") or PROJECT,
        bucket_name=os.environ.get("BUCKET_NAME") or BUCKET,
    )
    return Endpoints(
        api_url=f"http://{ports.HOST}:{api}",
        pubsub_host=f"{ports.HOST}:{pubsub}",
        storage_url=f"http://{ports.HOST}:{storage}",
        project=checked.google_cloud_project,
        bucket=checked.bucket_name,
    )


def _port_of(variable: str) -> int | None:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        return numbers.whole(text)
    except ValueError:
        raise ConfigError(f"{variable}={text} is no port: take one from 1 to 65535") from None
