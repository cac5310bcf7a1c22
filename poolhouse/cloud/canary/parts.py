"""The parts of a deployed pipeline that run two releases side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.kinds import containers, run, shares, worker_pools
from poolhouse.cloud.kinds.shares import Division
from poolhouse.cloud.options import LABEL, Options
from poolhouse.cloud.resource import Command, Fields, Json, Read, Resource, command, flag
from poolhouse.pipeline.config.queue import Queue
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
    services, pools = run.services_read(options), worker_pools.pools_read(options, tracks)
    # Jobs take the place of pools, in regions that have none too.
    listed = gcloud.read_all((services, pools) if options.workers == "pool" else (services,))
    return parse(listed[services.arguments], listed.get(pools.arguments), options=options)


def parse(services: Json, pools: Json, *, options: Options) -> tuple[Part, ...]:
    """The same from what gcloud listed."""
    service = containers.named(services, options.api_service)
    ours = [item for item in pools or () if item["metadata"].get("labels", {}).get(LABEL) == options.name]
    found = [_part("service", service)] if service else []
    return tuple(part for part in (*found, *(_part("pool", item) for item in ours)) if part)


def back(parts: Sequence[Part], *, topology: Topology, options: Options, tracks: ReleaseTracks) -> tuple[Resource, ...]:
    """The parts as they are wanted without their canary: everything is the old revision's, which still runs."""
    queues = {queue.topic: queue for queue in topology.queues}
    return tuple(
        _service_back(part, options)
        if part.kind == "service"
        else _pool_back(part, queues.get(part.name), options, tracks)
        for part in parts
    )


def _service_back(part: Part, options: Options) -> Resource:
    division = run.service_division(options)
    return _back(part, division, run.services_read(options), division.back(part.old))


def _pool_back(part: Part, queue: Queue | None, options: Options, tracks: ReleaseTracks) -> Resource:
    division = worker_pools.pool_division(part.name, options=options, tracks=tracks)
    commands = [division.back(part.old)]
    if queue is not None and not options.autoscale:
        # The instance that the canary added.
        size = flag(tracks.instances_flag, worker_pools.fixed_instances(queue))
        commands.append(command(*tracks.worker_pools, "update", part.name, flag("region", options.region), size))
    return _back(part, division, worker_pools.pools_read(options, tracks), *commands)


def _back(part: Part, division: Division, read: Read, *commands: Command) -> Resource:
    def observe(raw: Json) -> Fields | None:
        found = containers.named(raw, part.name)
        return {division.field: shares.of(found).text} if found else None

    return Resource(
        kind=part.kind,
        name=part.name,
        wanted={division.field: f"100% {part.old}"},
        read=read,
        observe=observe,
        create=(),
        update=lambda raw: commands,
        absent="it was removed meanwhile.",
    )


def _part(kind: Literal["service", "pool"], item: Json) -> Part | None:
    found = shares.of(item)
    percent = found.by_revision.get(found.newest, 0)
    if not 0 < percent < 100:
        return None
    return Part(kind=kind, name=item["metadata"]["name"], new=found.newest, old=found.stable, percent=percent)
