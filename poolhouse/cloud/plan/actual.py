"""What is there now: read in three rounds, each in parallel, and nothing asked that can't have an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import project
from poolhouse.cloud.plan.planner import Snapshot, first_reads, second_reads
from poolhouse.cloud.resource import LeftoverQuery, Resource


@dataclass(frozen=True, kw_only=True)
class Project:
    """The project: its number, and the APIs that are on."""

    number: str
    enabled: frozenset[str]
    #: What was read.
    snapshot: Snapshot


def read_project(gcloud: Gcloud, project_id: str) -> Project:
    """First round: project and APIs.

    Raises:
        CloudError: the project is not there, not visible, or being deleted.
    """
    describe, enabled = project.describe(project_id), project.ENABLED
    snapshot = gcloud.read_all((describe, enabled))
    found = snapshot[describe.arguments]
    if not found:
        raise CloudError(
            f"project {project_id}: not found, or not visible to this account. `gcloud projects list` shows the ids of "
            "those that are (the id, not the name or the number)."
        )
    if found.get("lifecycleState", "ACTIVE") != "ACTIVE":
        raise CloudError(f"project {project_id} is {found['lifecycleState']}: `gcloud projects undelete {project_id}`.")
    names = frozenset(str(item.get("config", {}).get("name", "")) for item in snapshot[enabled.arguments] or ())
    return Project(number=str(found["projectNumber"]), enabled=names, snapshot=snapshot)


def read_resources(
    gcloud: Gcloud, resources: Sequence[Resource], *, base: Project, sweeps: Sequence[LeftoverQuery] = ()
) -> Snapshot:
    """Second and third round: everything else, then what belongs to what is there. Raises `GcloudFailed`."""
    known = {project.ENABLED.arguments}
    reads = [read for read in first_reads(resources, sweeps, enabled=base.enabled) if read.arguments not in known]
    snapshot = {**base.snapshot, **gcloud.read_all(reads)}
    return {**snapshot, **gcloud.read_all(second_reads(resources, snapshot, enabled=base.enabled))}
