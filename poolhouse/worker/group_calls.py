"""What handlers do with groups, wherever they run: in the worker's process or in one of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import TaskType
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.groups import members as group_members
from poolhouse.pipeline.groups.group import Group, WaitFor
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.groups.results import MemberResult, anything, results
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.links import Planned
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.worker.plans import Place, plan
from poolhouse.worker.registry import Registry


def group_of(
    group: Group,
    members: Iterable[TaskRef[Any]],
    *,
    then: TaskRef[Any] | None,
    on_failure: TaskRef[Any] | None,
    wait_for: WaitFor,
    registry: Registry,
    topology: Topology,
    store: ObjectStore,
) -> Group:
    """Check a group, and keep its members until they are published; returns the group with its size.

    Args:
        group: its id, and who makes it.

    Raises:
        ValueError, StoreUnavailable: as `TaskContext.group`.
    """
    if wait_for not in get_args(WaitFor):
        raise ValueError(f"wait_for must be one of {', '.join(get_args(WaitFor))}, not {wait_for!r}")

    def planned(ref: TaskRef[Any], place: Place, field: str) -> Planned:
        if not isinstance(ref, TaskRef):
            raise ValueError(f"{field} must be a task such as render.ref(…), not {type(ref).__name__}")
        return plan(ref.body(), place, registry, topology, field=field)

    join = None if then is None else planned(then, Place.JOIN, "then")
    failure = None if on_failure is None else planned(on_failure, Place.FAILURE, "on_failure")
    each = (planned(member, Place.MEMBER, f"members.{index}") for index, member in enumerate(members))
    assert group.written_by is not None
    size = group_members.write(
        store, group.group_id, each, written_by=group.written_by, max_bytes=topology.payloads.max_bytes
    )
    return group.model_copy(update={"size": size, "then": join, "on_failure": failure, "wait_for": wait_for})


def results_of(
    group_id: str | None, task_type: TaskType[Any, Any] | None, *, store: ObjectStore, task_ids: TaskIds
) -> Iterator[MemberResult[Any]]:
    """Yield the results of a group's members for the task that follows it. Raises as `TaskContext.group_results`."""
    if group_id is None:
        raise RuntimeError("group_results() is for the join of a group, and this task is none")
    group = GroupStore(store).read(group_id)
    return results(group, store, task_ids, anything() if task_type is None else task_type.result_adapter)
