"""How many members of a group are where: from a listing of their records, without reading one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from poolhouse.pipeline.groups.completion import settled as is_settled
from poolhouse.pipeline.groups.group import FAILURE, JOIN, Group
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore, RecordSummary
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import TaskIds, group_prefix


@dataclass(frozen=True)
class Counts:
    """The members of a group by status."""

    by_status: dict[Status, int]
    #: Those that the join waits no longer for.
    settled: int


def count(group: Group, store: ObjectStore, task_ids: TaskIds) -> Counts:
    """Count the members of a group by status; a list call for each 500 of them.

    Members of a group that is still open count once a worker has claimed them.

    Raises:
        StoreUnavailable: storage does not answer.
    """
    by_status: Counter[Status] = Counter()
    seen = settled = 0
    beyond = None if group.size is None else task_ids.in_group(group.group_id, group.size)
    for member in members(group, store, task_ids):
        if beyond is not None and member.task_id >= beyond:
            break  # added while the group was closed with fewer
        by_status[member.status] += 1
        seen, settled = seen + 1, settled + is_settled(group, member.status, discarded=member.discarded)
    if group.size is not None:
        by_status[Status.QUEUED] += group.size - seen
    return Counts({status: by_status[status] for status in Status}, settled)


def members(group: Group, store: ObjectStore, task_ids: TaskIds) -> Iterator[RecordSummary]:
    """Return the members that have a record, in their order: a listing shows them side by side.

    Raises:
        StoreUnavailable: storage does not answer.
    """
    after_all = {task_ids.in_group(group.group_id, place) for place in (JOIN, FAILURE)}
    found = RecordStore(store).summaries(id_prefix=group_prefix(group.group_id))
    return (member for member in found if member.task_id not in after_all)
