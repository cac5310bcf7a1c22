"""What Google Cloud refuses for good is reported at once, with what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from poolhouse.cloud.deploy import deploy
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud import release_tracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.options import Options
from poolhouse.cloud.rehearsal.faults import Fault, Faults
from poolhouse.cloud.rehearsal.faults import named as named_faults
from poolhouse.cloud.rehearsal.simulation import PROJECT, simulate
from poolhouse.pipeline.config import topology
from poolhouse.project import ROOT
from tests.kit.integration.cloud.rehearsal import PIPELINE, Rehearsal, make_root

pytestmark = pytest.mark.usefixtures("gcloud_program")


def test_a_project_without_billing_gets_advice_and_nothing_is_tried_again(tmp_path: Path) -> None:
    off = Fault(
        match=r"services:batchEnable",
        status="FAILED_PRECONDITION",
        message="Billing account for project '123456789012' is not found. Billing must be enabled. BILLING_DISABLED",
    )
    with simulate(faults=Faults(faults=[off])) as running:
        rehearsal = Rehearsal(running, make_root(tmp_path))
        gcloud = rehearsal.gcloud()
        with pytest.raises(CloudError, match="no active billing account"):
            rehearsal.deploy(gcloud=gcloud)
        assert len(gcloud.calls) == 3  # the project, its APIs, and the one attempt


def test_what_a_region_an_organisation_or_another_project_stands_in_the_way_of_is_named_at_once(tmp_path: Path) -> None:
    faults = Faults(faults=named_faults("no-worker-pools"), constraints=("run.managed.requireInvokerIam",))
    with simulate(faults=faults) as running:
        rehearsal, state = Rehearsal(running, make_root(tmp_path)), running.control_plane.state
        state.foreign_buckets.add(f"{PROJECT}-shop-build")
        with pytest.raises(CloudError, match=r"(?s)not available.*bucket names are global"):
            rehearsal.deploy()
        # Neither sources nor logs go to a bucket that somebody else has taken.
        assert not state.objects
        assert f"iam/projects/{PROJECT}/serviceAccounts/shop-builder@{PROJECT}.iam.gserviceaccount.com" in state.items
        state.foreign_buckets.clear()
        with pytest.raises(CloudError, match='Without worker pools: workers = "job" there'):
            rehearsal.deploy()
        running.control_plane.faults.faults = named_faults("stuck-worker")
        with pytest.raises(CloudError, match="did not answer GET /health in time"):
            rehearsal.deploy()
        gcloud = rehearsal.gcloud()
        with pytest.raises(CloudError, match=re.escape('set `public = "none"` under [deploy]')):
            rehearsal.deploy(gcloud=gcloud, public=True, workers="job")
        # One attempt: a policy is no conflict, and waiting does not help.
        assert sum("run deploy shop-api" in call.command for call in gcloud.calls) == 1
        assert running.control_plane.bugs == []


def test_a_wrong_project_is_reported_before_anything_is_planned() -> None:
    with simulate() as running:
        gcloud = Gcloud("other-project", env=running.env, waits_s=())
        with pytest.raises(CloudError, match="gcloud projects list"):
            deploy(
                gcloud,
                topology.parse(PIPELINE),
                options=Options(project="other-project", name="shop"),
                root=ROOT,
                tracks=release_tracks.ReleaseTracks(),
                ask=lambda question: True,
                say=lambda line: None,
            )
