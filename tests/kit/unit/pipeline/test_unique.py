"""Unique tasks: who has a key, and who gets it, whatever comes in between."""

from __future__ import annotations

import typing
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.store import ABSENT, ObjectInfo
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.unique import TaskStatus, Unique
from poolhouse.pipeline.tasks.unique_keys import (
    SUBMIT_TIME,
    Held,
    Pending,
    Standing,
    Taken,
    UniqueClaim,
    UniqueKeys,
    standing,
)
from poolhouse.pipeline.timing.clock import MARGIN
from poolhouse.testing.doubles import ManualClock, MemoryStore

DAY = timedelta(days=1)


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.records = RecordStore(self.store)
        self.keys = UniqueKeys(self.store, longest_wait=7 * DAY)

    def claim(self, task_id: str, *, replaying: bool = False) -> UniqueClaim:
        return UniqueClaim(
            task_type="report",
            by={"customer": "acme"},
            task_id=task_id,
            submitted_at=self.clock.now,
            submitting_until=self.clock.now + SUBMIT_TIME,
            replaying=replaying,
        )

    def take(self, task_id: str, **rule: Any) -> Taken | Held | Pending:
        return self.keys.take(self.claim(task_id), Unique(by=("customer",), **rule), now=self.clock.now)

    def record(self, task_id: str, status: Status) -> None:
        stored = self.records.read(task_id)
        record = TaskRecord(
            task_id=task_id,
            task_type="report",
            queue="default",
            status=status,
            submitted_at=self.clock.now,
            updated_at=self.clock.now,
        )
        self.records.write(record, if_generation=stored.generation if stored else ABSENT)

    def status(self, task_id: str) -> tuple[Status, str | None]:
        stored = self.records.read(task_id)
        assert stored is not None
        return stored.record.status, stored.record.reason


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_takes_the_key_with_one_write_and_asks_nothing(world: World) -> None:
    assert isinstance(world.take("a"), Taken)
    assert (len(world.store.writes), world.store.calls) == (1, 1)


@pytest.mark.parametrize("status", list(Status))
def test_a_key_is_held_while_its_task_has_not_ended_and_a_conflict_writes_nothing(world: World, status: Status) -> None:
    world.take("a")
    world.record("a", status)
    writes = len(world.store.writes)
    answer = world.take("b")
    if status.final:
        assert isinstance(answer, Taken)
    else:
        assert answer == Held("a", status)
        assert len(world.store.writes) == writes


def test_a_key_may_be_held_by_a_task_that_has_ended_for_a_time(world: World) -> None:
    rule: dict[str, Any] = {"within_s": 3600, "while_": ("queued", "succeeded")}
    world.take("a")
    world.record("a", Status.SUCCEEDED)
    world.clock.forward(3599)
    assert world.take("b", **rule) == Held("a", Status.SUCCEEDED)
    world.clock.forward(1)
    assert isinstance(world.take("b", **rule), Taken)


def test_of_many_at_once_one_gets_the_key(world: World) -> None:
    answers: list[object] = []
    together = Barrier(50)

    def submit(number: int) -> None:
        together.wait()
        answers.append(world.take(f"t-{number}"))

    threads = [Thread(target=submit, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(answer) for answer in answers].count(Taken) == 1
    assert answers.count(Pending()) == 49
    assert len(world.store.writes) == 1


def test_a_claim_whose_answer_was_lost_is_ones_own(world: World) -> None:
    def lose(name: str) -> None:
        world.store.after_write = lambda name: None
        raise StoreUnavailable("no answer")

    world.store.after_write = lose
    with pytest.raises(StoreUnavailable):
        world.take("a")
    assert isinstance(world.take("a"), Taken)
    assert len(world.store.writes) == 1


def test_taking_ones_key_again_gives_the_generation_that_the_first_time_gave(world: World) -> None:
    assert world.take("a") == world.take("a")


def test_of_two_that_find_a_key_free_the_one_that_writes_first_has_it(world: World) -> None:
    world.take("ended")
    world.record("ended", Status.SUCCEEDED)
    tries: list[str] = []

    def between(name: str) -> None:
        tries.append(name)
        if len(tries) == 2:  # the first try finds that there is a claim; before the second, which replaces it:
            assert isinstance(world.take("b"), Taken)
            world.record("b", Status.QUEUED)

    world.store.before_write = between
    assert world.take("a") == Held("b", Status.QUEUED)


def test_a_key_that_is_deleted_while_it_is_looked_at_goes_to_the_one_that_writes_it_first(world: World) -> None:
    world.take("ended")
    get = world.store.get

    def deleted(name: str) -> tuple[bytes, ObjectInfo]:
        world.store.get = get  # type: ignore[method-assign]
        world.store.delete(name)
        world.store.before_write = overtake
        return get(name)

    def overtake(name: str) -> None:
        world.store.before_write = lambda name: None
        assert isinstance(world.take("b"), Taken)

    world.store.get = deleted  # type: ignore[method-assign]
    assert world.take("a") == Pending()
    world.store.delete(world.claim("a").object_name)
    assert isinstance(world.take("a"), Taken)


def test_a_submit_that_gave_up_late_leaves_alone_the_one_that_has_its_key_by_then(world: World) -> None:
    mine = world.claim("slow")
    taken = world.keys.take(mine, Unique(by=("customer",)), now=world.clock.now)
    assert isinstance(taken, Taken)
    world.clock.forward(SUBMIT_TIME.total_seconds())
    assert isinstance(world.take("b"), Taken)
    world.keys.release(mine, taken.generation)
    assert world.take("c") == Pending()


def test_a_submit_that_died_loses_its_key_and_its_task_never_runs_beside_the_next(world: World) -> None:
    world.take("dead")
    assert world.take("b") == Pending()
    world.clock.forward(SUBMIT_TIME.total_seconds())
    assert isinstance(world.take("b"), Taken)
    assert world.status("dead") == (Status.CANCELLED, "its submit did not come to its end: b has its key")


def test_a_submit_that_gave_up_makes_the_next_one_wait_no_time(world: World) -> None:
    taken = world.take("a")
    assert isinstance(taken, Taken)
    world.keys.release(world.claim("a"), taken.generation)
    assert isinstance(world.take("b"), Taken)


def test_a_task_that_begins_just_before_it_would_be_given_up_keeps_its_key(world: World) -> None:
    world.take("slow")
    world.clock.forward(SUBMIT_TIME.total_seconds())

    def begin(name: str) -> None:
        if name == names.claim("slow"):
            world.store.before_write = lambda name: None
            world.record("slow", Status.RUNNING)

    world.store.before_write = begin
    assert world.take("b") == Pending()
    assert world.take("b") == Held("slow", Status.RUNNING)


def test_a_record_that_has_expired_frees_the_key_and_is_not_made_anew(world: World) -> None:
    world.take("old")
    world.clock.forward(30 * DAY.total_seconds())
    assert isinstance(world.take("b"), Taken)
    assert world.store.names(names.TASKS) == ()


@pytest.mark.parametrize("status", [Status.SCHEDULED, Status.QUEUED])
def test_replace_cancels_the_one_that_waits(world: World, status: Status) -> None:
    world.take("a")
    world.record("a", status)
    assert isinstance(world.take("b", on_conflict="replace"), Taken)
    assert world.status("a") == (Status.CANCELLED, "replaced by b")


def test_replace_leaves_alone_what_runs_already(world: World) -> None:
    world.take("a")
    world.record("a", Status.RUNNING)
    assert isinstance(world.take("b", on_conflict="replace"), Taken)
    assert world.status("a") == (Status.RUNNING, None)


def test_a_dead_task_that_is_replayed_keeps_the_key_until_its_record_says_so(world: World) -> None:
    world.take("a")
    world.record("a", Status.DEAD)
    replay = world.keys.take(world.claim("a", replaying=True), Unique(by=("customer",)), now=world.clock.now)
    assert isinstance(replay, Taken)
    assert world.take("b") == Pending()
    world.record("a", Status.QUEUED)
    assert world.take("b") == Held("a", Status.QUEUED)


def test_a_clock_that_was_wrong_holds_no_key_for_long(world: World) -> None:
    claim = world.claim("future").model_copy(
        update={"submitted_at": world.clock.now + DAY, "submitting_until": world.clock.now + DAY}
    )
    assert standing(claim, None, Unique(), now=world.clock.now) is Standing.ABANDONED
    within_margin = claim.model_copy(update={"submitted_at": world.clock.now + MARGIN})
    assert standing(within_margin, None, Unique(), now=world.clock.now) is Standing.PENDING


def test_the_key_is_the_type_and_the_values_whatever_their_order(world: World) -> None:
    def name(task_type: str, by: dict[str, Any]) -> str:
        return world.claim("a").model_copy(update={"task_type": task_type, "by": by}).object_name

    assert name("t", {"a": 1, "b": [2]}) == name("t", {"b": [2], "a": 1})
    assert (
        len({name("t", {"a": 1}), name("u", {"a": 1}), name("t", {"a": "1"}), name("t", {}), name("t", {"a": None})})
        == 5
    )
    assert name("t", {"a": "\ud800"}).startswith(names.UNIQUE)


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"within_s": 0}, "within_s"),
        ({"within_s": float("nan")}, "within_s"),
        ({"while_": ("finished",)}, "while"),
        ({"while_": ()}, "while"),
        ({"on_conflict": "ignore"}, "on_conflict"),
        ({"by": 5}, "by"),
        ({"by": ("a", "a")}, "twice"),
        ({"debounce_s": 5}, "debounce_s"),
        ({"on_conflict": "replace", "while_": ("running",)}, "while"),
        ({"until": 5}, "until"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_with_its_field(rule: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Unique(**rule)


def test_a_rule_knows_every_status() -> None:
    assert set(typing.get_args(TaskStatus)) == set(Status)


def test_a_rule_survives_json() -> None:
    rule = Unique(by=("a",), within_s=5, while_=("queued",), on_conflict="reject")
    assert Unique.model_validate(rule.model_dump(mode="json")) == rule
    assert Status.QUEUED in rule.statuses
