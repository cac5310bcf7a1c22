"""What follows the end of a task that is linked with others: the rule of chains, failures and groups."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from poolhouse.pipeline.errors import GroupNotFound
from poolhouse.pipeline.groups.completion import Completion, settled
from poolhouse.pipeline.groups.group import FAILURE, JOIN, MAX_MEMBERS, Group
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.links import Link, Links, handed
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord
from poolhouse.pipeline.tasks.task_ids import TaskIds


class LinkedTasks:
    """The rule (`poolhouse.pipeline.tasks.after_end.Rule`) for linked tasks; of any other it makes nothing.

    Every call may raise `StoreUnavailable`. Thread-safe.
    """

    def __init__(self, store: ObjectStore, task_ids: Callable[[], TaskIds]) -> None:
        """Call nothing yet.

        Args:
            task_ids: gives those of the deployment; called at the first linked task.
        """
        self._store = store
        self._task_ids = task_ids
        self._groups = GroupStore(store)
        self._completion = Completion(store, task_ids)

    def __call__(self, record: TaskRecord) -> Iterator[FollowUp]:
        """Yield what follows the end of a task; the same ids each time."""
        failed = record.status in {Status.FAILED, Status.DEAD}
        if record.then and record.status is Status.SUCCEEDED:
            yield self._next_of_chain(record, record.then)
        if record.on_failure is not None and failed and record.discarded_at is None:
            life = len(record.replayed_at)
            task_id = self._task_ids().derive(f"failure of {record.task_id} {life}", record.submitted_at)
            yield _follow_up(task_id, record.on_failure, _failure(record), Links(parent_id=record.task_id))
        if record.group_id is not None and record.group_index is not None:
            yield from self._of_group(record, record.group_id, record.group_index, failed=failed)

    def of_closed(self, group: Group) -> Iterator[FollowUp]:
        """Yield what follows where all members ended before the last was added, or there is none."""
        if group.size == 0 or (group.size and self._last_settled(group, group.size - 1)):
            yield from self._join(group)

    def _of_group(self, record: TaskRecord, group_id: str, index: int, *, failed: bool) -> Iterator[FollowUp]:
        group = self._of_member(record, group_id, index)
        if group is None:
            return
        if failed and record.discarded_at is None and group.on_failure is not None:
            task_id = self._task_ids().in_group(group_id, FAILURE)
            yield _follow_up(
                task_id, group.on_failure, _failure(record), Links(parent_id=record.task_id, group_id=group_id)
            )
        if group.then is None or not settled(group, record.status, discarded=record.discarded_at is not None):
            return
        reached = self._completion.reached(group, index)
        if not reached and group.size is None:
            # Closed while we looked? Then the closing call may not have seen our mark, and we did not know where to end
            # looking. One that is written after this read sees it.
            closed = self._of_member(record, group_id, index)
            reached = closed is not None and closed.size is not None and self._completion.reached(closed, index)
        if reached:
            yield from self._join(group)

    def _of_member(self, record: TaskRecord, group_id: str, index: int) -> Group | None:
        """The group of a member; None if it has expired, and its join with it, or the task is none of its members.

        Anybody who may publish can write any links into a message, and members may be added beyond the size that the
        group is closed with.
        """
        try:
            group = self._groups.closed(group_id)
        except GroupNotFound:
            return None
        if not 0 <= index < (MAX_MEMBERS if group.size is None else group.size):
            return None
        return group if record.task_id == self._task_ids().in_group(group_id, index) else None

    def _last_settled(self, group: Group, index: int) -> bool:
        return self._completion.settled(group, index) and self._completion.reached(group, index)

    def _join(self, group: Group) -> Iterator[FollowUp]:
        if group.then is None:
            return
        links = Links(
            parent_id=group.parent_id,
            group_id=group.group_id,
            then=group.then.then,
            on_failure=group.then.on_failure,
        )
        task_id = self._task_ids().in_group(group.group_id, JOIN)
        yield FollowUp(
            task_id=task_id,
            task_type=group.then.task_type,
            queue=group.then.queue,
            payload=group.then.payload,
            links=links,
        )

    def _next_of_chain(self, record: TaskRecord, chain: tuple[Link, ...]) -> FollowUp:
        links = Links(parent_id=record.task_id, then=chain[1:] or None, on_failure=record.on_failure)
        task_id = self._task_ids().derive(f"then {record.task_id}", record.submitted_at)
        return FollowUp(
            task_id=task_id,
            task_type=chain[0].task_type,
            queue=chain[0].queue,
            payload=handed(chain[0], self._result(record)),
            links=links,
        )

    def _result(self, record: TaskRecord) -> Any:
        if record.result is None and record.result_object is not None:
            return json.loads(self._store.get(record.result_object.name)[0])
        return record.result


def _follow_up(task_id: str, link: Link, failure: dict[str, Any], links: Links) -> FollowUp:
    payload = link.payload if link.into is None else handed(link, failure)
    return FollowUp(task_id=task_id, task_type=link.task_type, queue=link.queue, payload=payload, links=links)


def _failure(record: TaskRecord) -> dict[str, Any]:
    """What is handed on of a failure."""
    return {
        "task_id": record.task_id,
        "task_type": record.task_type,
        "status": record.status,
        "reason": record.reason or "",
    }
