"""Which tasks follow the end of a group's members: a member is whoever has its id, and a close loses no join."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from poolhouse.pipeline.groups.counts import count
from poolhouse.pipeline.groups.following import LinkedTasks
from poolhouse.pipeline.groups.group import MAX_MEMBERS, Group
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.groups.members import message
from poolhouse.pipeline.store import ABSENT, ObjectInfo
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.links import Link, Planned
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.task_ids import GROUP_PLACE, TaskIds
from poolhouse.testing.doubles import MemoryStore

NOW = datetime(2026, 11, 29, tzinfo=UTC)
IDS = TaskIds(b"k" * 32)


class MarkedStore(MemoryStore):
    """Something else happens once, just before a mark is written."""

    before_mark: Callable[[], object] | None = None

    def put(self, name: str, *args: object, **named: object) -> ObjectInfo:
        if "/done/" in name and self.before_mark is not None:
            happens, self.before_mark = self.before_mark, None
            happens()
        return super().put(name, *args, **named)  # type: ignore[arg-type]


class World:
    """A group with a join and a failure task."""

    def __init__(self, size: int | None) -> None:
        self.store = MarkedStore()
        self.groups = GroupStore(self.store)
        self.group = self.groups.create(
            Group(
                group_id=IDS.new_group(NOW),
                created_at=NOW,
                size=size,
                then=Planned(task_type="join", queue="q"),
                on_failure=Link(task_type="alarm", queue="q"),
            )
        )
        self.joined = 0

    def member(self, index: int, status: Status = Status.SUCCEEDED) -> TaskRecord:
        task = message(self.group, Planned(task_type="t", queue="q"), index=index, submitted_at=NOW, task_ids=IDS)
        return transitions.fresh(task, now=NOW).model_copy(update={"status": status})

    def end(self, index: int) -> TaskRecord:
        """Write the final record of a member."""
        record = self.member(index)
        RecordStore(self.store).write(record, if_generation=ABSENT)
        return record

    def follow(self, record: TaskRecord) -> list[str]:
        """The types of what follows, by a worker that has not seen the group before."""
        found = [each.task_type for each in LinkedTasks(self.store, lambda: IDS)(record)]
        self.joined += found.count("join")
        return found

    def close(self, size: int) -> None:
        """Close the group as the API does."""
        closed = self.groups.change(self.group.group_id, lambda group: group.model_copy(update={"size": size}))
        self.joined += len(list(LinkedTasks(self.store, lambda: IDS).of_closed(closed)))


@pytest.mark.parametrize("last", [3, 15, 17, 19])
def test_a_group_that_is_closed_while_its_last_member_is_looked_at_has_its_join(last: int) -> None:
    world = World(None)
    for index in range(20):
        if index != last:
            world.follow(world.end(index))
    record = world.end(last)
    world.store.before_mark = lambda: world.close(20)
    world.follow(record)
    if world.store.before_mark is not None:  # no mark was due
        world.close(20)
    assert world.joined > 0


@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("index", [-1, 2, 16, MAX_MEMBERS, GROUP_PLACE + 1, GROUP_PLACE + 2])
def test_what_says_that_it_is_a_member_where_there_is_none_is_none(size: int | None, index: int) -> None:
    world = World(size)
    for each in range(2):
        world.end(each)
    of_first = world.member(0).model_copy(update={"group_index": index})
    if size is not None:
        with_its_id = of_first.model_copy(update={"task_id": IDS.in_group(world.group.group_id, index)})
        assert world.follow(with_its_id) == []
    assert world.follow(of_first) == []
    assert world.follow(of_first.model_copy(update={"status": Status.DEAD})) == []


def test_a_task_with_another_id_is_no_member() -> None:
    world = World(2)
    world.end(0)
    for status in (Status.SUCCEEDED, Status.DEAD):
        stranger = world.member(1, status).model_copy(update={"task_id": IDS.new(NOW)})
        assert world.follow(stranger) == []
    assert world.follow(world.member(1, Status.DEAD)) == ["alarm"]
    assert world.follow(world.end(1)) == ["join"]


def test_a_member_that_was_added_beyond_the_size_is_not_counted() -> None:
    world = World(None)
    for index in range(4):
        world.end(index)
    world.close(3)
    found = count(world.groups.read(world.group.group_id), world.store, IDS)
    assert (found.settled, found.by_status[Status.SUCCEEDED], found.by_status[Status.QUEUED]) == (3, 3, 0)
