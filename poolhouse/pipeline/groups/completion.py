"""Whether a member was the last of its group: found out by reading, without a counter.

A counter would be one object that every member writes. Here the members' own final records are the count. They are the
leaves of a tree, `FAN` below each node, and the mark of a node is an object that is written once all below it are
there. The worker that ends a member looks at the members beside it; if all are settled it marks the node above, looks
at the nodes beside that one, and so on up to the root.

None is missed: each looks after its own write, and a listing or read shows every write before it (Cloud Storage,
Consistency), so the last writer below a node sees all others. Looking again, after a duplicate or a crash, does no
harm. Looking comes before the ack, so a worker that dies in between leaves a message that comes again.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import TaskIds

#: Members, or nodes, below one node. More cost more looks, fewer cost more marks: a mark for each FAN - 1 members.
FAN = 16


def settled(group: Group, status: Status, *, discarded: bool) -> bool:
    """Whether the join of a group waits no longer for a member.

    Cancelled and discarded tasks are given up: no replay makes them succeed any more.
    """
    if not status.final:
        return False
    return group.wait_for == "ended" or discarded or status in {Status.SUCCEEDED, Status.CANCELLED}


class Completion:
    """Finds the last member of each group. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(self, store: ObjectStore, task_ids: Callable[[], TaskIds]) -> None:
        self._store = store
        self._records = RecordStore(store)
        self._task_ids = task_ids

    def reached(self, group: Group, index: int) -> bool:
        """Look whether all members of a group are settled, from the one at `index`, which is.

        Where others are not, the worker that settles the last of them finds all of them settled.
        """
        level = 0
        width = group.size  # nodes on this level; None while the group is open
        while width is None or width > 1:
            node = index // FAN
            last = (node + 1) * FAN if width is None else min((node + 1) * FAN, width)
            beside = [each for each in range(node * FAN, last) if each != index]
            if not all(self._there(group, level, each) for each in _likely_missing_first(beside)):
                return False
            width = None if width is None else -(-width // FAN)
            level, index = level + 1, node
            if width != 1:
                with contextlib.suppress(PreconditionFailed):  # marked before
                    self._store.put(_mark(group.group_id, level, index), b"{}", if_generation=ABSENT)
        return True

    def settled(self, group: Group, index: int) -> bool:
        """Whether a member is settled, by its record."""
        member = self._records.summary(self._task_ids().in_group(group.group_id, index))
        return member is not None and settled(group, member.status, discarded=member.discarded)

    def _there(self, group: Group, level: int, index: int) -> bool:
        if level == 0:
            return self.settled(group, index)
        try:
            self._store.stat(_mark(group.group_id, level, index))
        except ObjectNotFound:
            return False
        return True


def _likely_missing_first(indexes: Sequence[int]) -> list[int]:
    """The last one first: members end roughly in order. The others at random, so that no order of ends is a bad one."""
    return [*indexes[-1:], *random.sample(indexes[:-1], max(0, len(indexes) - 1))]


def _mark(group_id: str, level: int, index: int) -> str:
    return f"{names.GROUPS}{group_id}/done/{level}-{index:05d}"
