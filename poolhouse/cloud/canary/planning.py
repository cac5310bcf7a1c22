"""What a deploy with a canary does at first, and what waits until the new release has proved itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from poolhouse.cloud.kinds import containers, shares
from poolhouse.cloud.kinds.shares import Canary
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan.planner import Plan, Snapshot
from poolhouse.cloud.resource import Resource


def canaries(plan: Plan, snapshot: Snapshot, *, percent: int, options: Options) -> Mapping[str, Canary]:
    """The shares of new revisions, by the ids of the resources.

    What is not there yet has no older revision to share with, and a pool that only changes its size none that is new.

    Args:
        plan: what a deploy would do all at once.
        snapshot: what was read.
        percent: of requests and instances.
        options: the choices of the deploy.
    """
    found = {}
    for action in plan.work:
        resource = action.resource
        divided = resource.kind == "pool" or resource.name == options.api_service
        if divided and action.verb == "update" and any(change.field != "instances" for change in action.changes):
            item = containers.named(snapshot[resource.read.arguments], resource.name)
            found[resource.id] = Canary(percent=percent, stable=shares.of(item).stable)
    return found


def first_step(plan: Plan, *, options: Options) -> Plan:
    """The plan without what is there and not shared, which waits for the end of the canary: jobs, and the console.

    A job can't be shared. The console could, but has few calls, and must not know more than the release that stays.
    """

    def waits(resource: Resource) -> bool:
        return resource.kind == "job" or resource.id == f"service/{options.console_service}"

    return replace(
        plan,
        actions=tuple(action for action in plan.actions if action.verb != "update" or not waits(action.resource)),
    )
