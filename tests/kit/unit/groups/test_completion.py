"""Who finds the group complete: whoever settles the last member, in every order, and at what cost."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse.pipeline import names
from poolhouse.pipeline.groups.completion import FAN, Completion
from poolhouse.pipeline.groups.counts import count
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.groups.members import message
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.links import Planned
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.testing.doubles import MemoryStore

NOW = datetime(2026, 11, 29, tzinfo=UTC)
IDS = TaskIds(b"k" * 32)


class World:
    """A group, and its members' ends."""

    def __init__(self, size: int | None) -> None:
        self.store = MemoryStore()
        self.records = RecordStore(self.store)
        self.group = Group(group_id=IDS.new_group(NOW), created_at=NOW, size=size)
        self.completion = Completion(self.store, lambda: IDS)

    def end(self, index: int, status: Status = Status.SUCCEEDED) -> None:
        """Write the final record of a member."""
        task = message(self.group, Planned(task_type="t", queue="q"), index=index, submitted_at=NOW, task_ids=IDS)
        record = transitions.fresh(task, now=NOW)
        found = self.records.read(task.task_id)
        generation = found.generation if found else ABSENT
        for each in (Status.RUNNING, status) if status is Status.SUCCEEDED else (status,):
            written = record.model_copy(update={"status": each})
            generation = self.records.write(written, if_generation=generation).generation

    def look(self, index: int) -> bool:
        """Look as whoever has ended the member does."""
        return self.completion.reached(self.group, index)

    @property
    def marks(self) -> int:
        return len(self.store.names(f"{names.GROUPS}{self.group.group_id}/done/"))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, FAN * FAN + 3), st.randoms(use_true_random=False))
def test_the_last_of_any_order_and_no_other_finds_it_complete(size: int, rng: random.Random) -> None:
    world = World(size)
    order = rng.sample(range(size), size)
    for index in order[:-1]:
        world.end(index)
        assert not world.look(index)
    world.end(order[-1])
    assert world.look(order[-1])


@settings(max_examples=15, deadline=None)
@given(st.integers(2, FAN * FAN + 3), st.data())
def test_some_look_finds_it_complete_however_writes_and_looks_are_mixed(size: int, data: st.DataObject) -> None:
    world = World(size)
    to_end, to_look, found = list(range(size)), [], False
    rng = data.draw(st.randoms(use_true_random=False))
    while to_end or to_look:
        if to_end and (not to_look or rng.random() < 0.5):
            index = to_end.pop(rng.randrange(len(to_end)))
            world.end(index)
            to_look.append(index)
        else:
            found |= world.look(to_look.pop(rng.randrange(len(to_look))))
    assert found


def test_a_look_after_a_crash_or_a_duplicate_finds_what_the_first_would_have() -> None:
    size = 40
    world = World(size)
    for index in range(size):
        world.end(index)  # no look: every worker died behind its write
    assert not world.look(3)  # the others' messages come again, too
    assert sum(world.look(index) for index in range(size)) > 0
    assert world.look(0)


def test_dead_members_are_waited_for_until_a_replay_or_for_ever() -> None:
    world = World(3)
    for index, status in enumerate((Status.SUCCEEDED, Status.DEAD, Status.CANCELLED)):
        world.end(index, status)
    assert not world.look(0)
    anyway = world.group.model_copy(update={"wait_for": "ended"})
    assert world.completion.reached(anyway, 0)
    world.end(1)
    assert world.look(1)


def test_an_open_group_is_never_complete_and_a_closed_one_by_its_last_member() -> None:
    world = World(None)
    for index in range(FAN):
        world.end(index)
        assert not world.look(index)
    world.group = world.group.model_copy(update={"size": FAN})
    assert world.look(FAN - 1)


@pytest.mark.parametrize("size", [1, FAN, FAN + 1, 300])
def test_a_group_costs_few_writes(size: int) -> None:
    world = World(size)
    for index in range(size):
        world.end(index)
        world.look(index)
    assert world.marks == len(world.store.writes) - 2 * size
    assert world.marks <= size / (FAN - 1) + 2
    assert len(set(world.store.writes)) == len(world.store.writes)  # no object is written twice


@pytest.mark.parametrize("order", ["forwards", "backwards", "at random"])
def test_no_order_of_ends_makes_looking_expensive(order: str) -> None:
    size = 500
    indexes = {"forwards": range(size), "backwards": range(size)[::-1], "at random": random.sample(range(size), size)}
    world = World(size)
    calls = 0
    for index in indexes[order]:
        world.end(index)
        before = world.store.calls
        world.look(index)
        calls += world.store.calls - before
    assert calls / size < 7


def test_members_are_counted_by_a_listing_and_no_other_task_is() -> None:
    world = World(20)
    other = World(5)
    other.store = world.store
    other.records = world.records
    for index in range(5):
        other.end(index)
    world.end(0, Status.RUNNING)
    world.end(1, Status.DEAD)
    world.end(2)
    found = count(world.group, world.store, IDS)
    assert {status: number for status, number in found.by_status.items() if number} == {
        Status.QUEUED: 17,
        Status.RUNNING: 1,
        Status.DEAD: 1,
        Status.SUCCEEDED: 1,
    }
    assert found.settled == 1
