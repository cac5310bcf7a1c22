"""The parts of a deployed pipeline that run two releases side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import containers, run, shares
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.resource import Command, Json, command, flag
from poolhouse.pipeline.config.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Part:
    """The API's service, or the worker pool of a queue, with a canary."""

    kind: Literal["service", "pool"]
    name: str
    #: Names of the two revisions.
    new: str
    old: str
    #: Share of the new one.
    percent: int


def read(gcloud: Gcloud, *, options: Options, tracks: ReleaseTracks) -> tuple[Part, ...]:
    """Return the parts that have a canary. Raises `CloudError`."""
    services, pools = run.services_read(options), run.pools_read(options, tracks)
    # Jobs take the place of pools, in regions that have none too.
    listed = gcloud.read_all((services, pools) if options.workers == "pool" else (services,))
    return parse(listed[services.arguments], listed.get(pools.arguments), options=options)


def parse(services: Json, pools: Json, *, options: Options) -> tuple[Part, ...]:
    """The same from what gcloud listed."""
    service = containers.named(services, options.api_service)
    ours = [item for item in pools or () if item["metadata"].get("labels", {}).get(LABEL) == options.name]
    found = [_part("service", service)] if service else []
    return tuple(part for part in (*found, *(_part("pool", item) for item in ours)) if part)


def back(parts: Sequence[Part], *, topology: Topology, options: Options, tracks: ReleaseTracks) -> Iterator[Command]:
    """The commands that give everything back to the old revisions."""
    queues = {queue.topic: queue for queue in topology.queues}
    for part in parts:
        if part.kind == "service":
            yield run.service_division(options).back(part.old)
            continue
        yield run.pool_division(part.name, options=options, tracks=tracks).back(part.old)
        if part.name in queues and not options.autoscale:
            instances = flag(tracks.instances_flag, run.fixed_instances(queues[part.name]))
            yield command(*tracks.worker_pools, "update", part.name, flag("region", options.region), instances)


def _part(kind: Literal["service", "pool"], item: Json) -> Part | None:
    found = shares.of(item)
    percent = found.by_revision.get(found.newest, 0)
    if not 0 < percent < 100:
        return None
    return Part(kind=kind, name=item["metadata"]["name"], new=found.newest, old=found.stable, percent=percent)
