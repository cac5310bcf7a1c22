"""`invoke stages`: what pipeline.toml declares, and what of it is in a project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import storage
from poolhouse.cloud.options import LABEL
from poolhouse.cloud.plan.actual import read_project
from poolhouse.cloud.resource import Json, Read
from poolhouse.pipeline.config.topology import Topology

SERVICES = Read(arguments=("run", "services", "list"), api="run.googleapis.com")
_REGION = "cloud.googleapis.com/location"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One deployment, or one stage that is not deployed."""

    stage: str
    prefix: str
    region: str = "-"
    #: When its API was last deployed; empty: there is none.
    deployed: str = ""
    #: What is there.
    state: str = "not deployed"


def read(gcloud: Gcloud, declared: Sequence[Topology], *, project: str) -> tuple[Row, ...]:
    """The stages and which are deployed. Raises `CloudError`.

    Args:
        gcloud: with what.
        declared: the declaration as it stands, then its stages.
        project: id of the project.
    """
    base = read_project(gcloud, project)
    snapshot = gcloud.read_all([read for read in (SERVICES, storage.BUCKETS) if read.api in base.enabled])
    return rows(declared, services=snapshot.get(SERVICES.arguments), buckets=snapshot.get(storage.BUCKETS.arguments))


def text(found: Sequence[Row]) -> str:
    """The stages for a person."""
    lines = [f"{'stage':16}{'prefix':26}{'region':16}{'deployed':22}state"]
    lines += [f"{row.stage:16}{row.prefix:26}{row.region:16}{row.deployed or '-':22}{row.state}" for row in found]
    return "\n".join(lines)


def rows(declared: Sequence[Topology], *, services: Json, buckets: Json) -> tuple[Row, ...]:
    """The declared stages and their deployments; what is deployed and not declared any more comes last."""
    there = dict(_deployed(services, buckets))
    result = []
    for each in declared:
        stage = each.stage
        if not stage.preview:
            found = there.pop(stage.pipeline, None)
            row = found or Row(stage="", prefix=stage.pipeline, region=each.deploy.region)
            result.append(_named(row, stage.name or "(none)"))
            continue
        fitting = sorted(prefix for prefix in there if prefix.startswith(_before(each)))
        result += [_named(there.pop(prefix), prefix.removeprefix(f"{declared[0].name}-")) for prefix in fitting]
    return (*result, *(_named(row, "?") for _, row in sorted(there.items())))


def _deployed(services: Json, buckets: Json) -> Iterator[tuple[str, Row]]:
    """What is there, by prefix: its API, else its bucket alone."""
    for item in buckets or ():
        if prefix := (item.get("labels") or {}).get(LABEL):
            yield (
                prefix,
                Row(stage="", prefix=prefix, region=str(item.get("location", "")).lower(), state="bucket, no API"),
            )
    for item in services or ():
        labels = item["metadata"].get("labels", {})
        prefix = labels.get(LABEL)
        if prefix and item["metadata"]["name"] == f"{prefix}-api":
            conditions = {entry["type"]: entry for entry in item.get("status", {}).get("conditions", ())}
            ready = conditions.get("Ready", {})
            yield (
                prefix,
                Row(
                    stage="",
                    prefix=prefix,
                    region=labels.get(_REGION, "-"),
                    deployed=str(ready.get("lastTransitionTime", ""))[:19],
                    state="ready" if ready.get("status") == "True" else "not ready",
                ),
            )


def _before(topology: Topology) -> str:
    """How the prefixes of a pattern's stages begin."""
    return topology.stage.pipeline.removesuffix(topology.stage.name) + topology.stage.key.rstrip("*")


def _named(row: Row, stage: str) -> Row:
    return Row(stage=stage, prefix=row.prefix, region=row.region, deployed=row.deployed, state=row.state)
