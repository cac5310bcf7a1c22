"""Records in their objects: whoever writes on what it has read, in whatever order, one history comes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import PreconditionFailed, RecordUnreadable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import record_store, transitions
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored
from poolhouse.pipeline.tasks.record_version import Version
from poolhouse.pipeline.tasks.records import ErrorInfo, Outcome, Status, TaskRecord
from poolhouse.testing.doubles import MemoryStore

LEASE_S = 20
NOW = datetime(2026, 3, 1, tzinfo=UTC)
ERROR = ErrorInfo(type="RuntimeError", message="boom")


def message(task_id: str = "t-1") -> TaskMessage:
    return TaskMessage(task_id=task_id, task_type="echo", submitted_at=NOW, queue="default", payload={"n": 1})


class World:
    """A bucket, and workers that claim in it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.records = RecordStore(self.store)

    def read(self, task_id: str = "t-1") -> Stored:
        stored = self.records.read(task_id)
        assert stored is not None
        return stored

    def claim(
        self, stored: Stored | None = None, *, owner: str = "1", task_id: str = "t-1", now: datetime = NOW
    ) -> Stored:
        decided = transitions.claim(
            stored.record if stored else None,
            message(task_id),
            owner=owner,
            worker=owner,
            now=now,
            lease_s=LEASE_S,
            max_attempts=5,
        )
        assert isinstance(decided, transitions.Run)
        return self.records.write(decided.record, if_generation=stored.generation if stored else ABSENT, writer=owner)

    def take_over(self, stored: Stored, *, now: datetime) -> Stored:
        decided = transitions.claim(
            stored.record, message(), owner="2", worker="2", now=now, lease_s=LEASE_S, max_attempts=5
        )
        assert isinstance(decided, transitions.TakeOver)
        return self.records.write(decided.record, if_generation=stored.generation, writer="2")

    def succeed(self, stored: Stored, *, result: int = 1, now: datetime = NOW) -> Stored:
        record = transitions.succeeded(stored.record, now=now, result=result)
        return self.records.write(record, if_generation=stored.generation, writer=stored.record.owner or "")

    def fail(self, stored: Stored, *, now: datetime = NOW) -> Stored:
        record = transitions.retried(stored.record, error=ERROR, now=now)
        return self.records.write(record, if_generation=stored.generation, writer=stored.record.owner or "")

    def cancel(self, stored: Stored, *, now: datetime = NOW) -> Stored:
        return self.records.write(transitions.cancel_requested(stored.record, now=now), if_generation=stored.generation)


@pytest.fixture
def world() -> World:
    return World()


def test_claim_and_end_are_objects_of_their_own_and_the_end_is_read_with_one_call(world: World) -> None:
    world.succeed(world.claim())
    assert world.store.writes == [names.claim("t-1"), names.record("t-1")]
    calls = world.store.calls
    assert world.read().record.status is Status.SUCCEEDED
    assert world.store.calls == calls + 1


def test_a_duplicate_fails_on_the_claim_of_a_task_that_has_ended(world: World) -> None:
    world.succeed(world.claim())
    with pytest.raises(PreconditionFailed):
        world.claim(owner="2")
    assert world.read().record.result == 1


def test_of_a_worker_that_slept_and_the_one_that_took_over_one_ends_the_task(world: World) -> None:
    late = NOW + timedelta(seconds=LEASE_S + 1)
    asleep = world.claim()
    second = world.claim(world.take_over(world.read(), now=late), owner="2", now=late)
    with pytest.raises(PreconditionFailed):
        world.succeed(asleep, result=1, now=late)
    world.succeed(second, result=2, now=late)
    record = world.read().record
    assert (record.result, [attempt.outcome for attempt in record.attempts]) == (2, [Outcome.LOST, Outcome.SUCCEEDED])


def test_an_end_before_the_takeover_keeps_the_task_from_running_again(world: World) -> None:
    late = NOW + timedelta(seconds=LEASE_S + 1)
    asleep = world.claim()
    seen = world.read()
    world.succeed(asleep, now=late)
    with pytest.raises(PreconditionFailed):
        world.take_over(seen, now=late)
    assert world.read().record.status is Status.SUCCEEDED


def test_a_lease_renewed_too_late_does_not_bring_an_attempt_back(world: World) -> None:
    late = NOW + timedelta(seconds=LEASE_S + 1)
    asleep = world.claim()
    world.take_over(world.read(), now=late)
    renewed = transitions.renewed(asleep.record, now=late, lease_s=LEASE_S)
    again = world.records.write(renewed, if_generation=asleep.generation, writer="1")
    assert world.read().record.status is Status.QUEUED
    assert world.records.generation("t-1") != again.generation, "its worker must see that the task is not its own"
    with pytest.raises(PreconditionFailed):
        world.succeed(again, now=late)


def test_of_a_start_and_a_cancel_call_one_wins(world: World) -> None:
    waiting = world.fail(world.claim())
    world.cancel(waiting)
    with pytest.raises(PreconditionFailed):
        world.claim(waiting, owner="2")
    assert world.read().record.status is Status.CANCELLED


def test_a_cancel_call_during_a_failing_attempt_is_not_lost(world: World) -> None:
    running = world.claim()
    before_retry = world.cancel(running)
    assert before_retry.record.cancel_requested_at == NOW
    world.fail(running)  # its worker has not seen the call
    assert world.read().record.cancel_requested_at == NOW
    decided = transitions.claim(
        world.read().record, message(), owner="2", worker="2", now=NOW, lease_s=LEASE_S, max_attempts=5
    )
    assert isinstance(decided, transitions.Exhausted)
    assert decided.record.status is Status.CANCELLED


def test_a_cancel_call_after_a_failed_attempt_starts_anew(world: World) -> None:
    running = world.claim()
    world.fail(running)
    with pytest.raises(PreconditionFailed):
        world.cancel(running)
    assert world.read().record.cancel_requested_at == NOW


def test_a_cancel_call_that_comes_after_the_end_is_told_so(world: World) -> None:
    running = world.claim()
    world.succeed(running)
    with pytest.raises(PreconditionFailed):
        world.cancel(running)
    assert world.read().record.status is Status.SUCCEEDED


def test_a_revived_task_ends_again_and_its_first_end_counts_no_more(world: World) -> None:
    running = world.claim()
    died = transitions.died(running.record, reason="boom", now=NOW)
    dead = world.records.write(died, if_generation=running.generation, writer="1")
    revived = world.records.write(transitions.replayed(dead.record, now=NOW), if_generation=dead.generation)
    assert world.read().record.status is Status.QUEUED
    again = world.claim(revived, owner="2")
    with pytest.raises(PreconditionFailed):
        world.succeed(running, result=1)
    world.succeed(again, result=2)
    assert (world.read().record.result, world.read().record.replayed_at) == (2, (NOW,))


def test_what_a_submit_call_writes_counts_until_a_worker_or_a_cancel_call_writes(world: World) -> None:
    fresh = transitions.fresh(message(), now=NOW)
    world.records.submit(fresh)
    with pytest.raises(PreconditionFailed):
        world.records.submit(fresh)
    submitted = world.read()
    assert (submitted.record.status, submitted.generation) == (Status.QUEUED, world.records.generation("t-1"))
    claimed = world.claim(submitted)
    with pytest.raises(PreconditionFailed):
        world.cancel(submitted)
    world.succeed(claimed)
    assert world.store.writes == [names.submitted("t-1"), names.claim("t-1"), names.record("t-1")]


def test_a_submit_call_that_comes_after_the_worker_changes_nothing(world: World) -> None:
    world.claim()
    world.records.submit(transitions.fresh(message(), now=NOW))
    assert world.read().record.status is Status.RUNNING


@pytest.mark.parametrize("name", [names.record("t-1"), names.claim("t-1")])
def test_an_object_that_is_no_record_can_be_replaced(world: World, name: str) -> None:
    world.store.put(name, b'{"status":"of another version"}')
    with pytest.raises(RecordUnreadable, match=name) as raised:
        world.records.read("t-1")
    fresh = transitions.fresh(message(), now=NOW)
    written = world.records.write(fresh, if_generation=raised.value.generation)
    assert (world.read().record.status, world.read().generation) == (Status.QUEUED, written.generation)


def test_a_lost_answer_is_told_from_the_write_of_another(world: World) -> None:
    def lose(name: str) -> None:
        world.store.after_write = lambda name: None
        raise PreconditionFailed("the client repeated the request, and met its own write")

    world.store.after_write = lose
    claimed = world.claim()
    world.store.after_write = lose
    world.succeed(claimed)
    assert world.store.writes == [names.claim("t-1"), names.record("t-1")]


class TestListing:
    """Several objects are one task, wherever a page ends."""

    @pytest.fixture
    def many(self, world: World) -> World:
        # Ids as people choose them: one that begins like another, with what sorts around the names of its objects.
        for number, task_id in enumerate(["a", "a-1", "a.json", "a.json-b", "a.json.claim", "a.submitted", "a0", "b"]):
            if number % 2:
                world.records.submit(transitions.fresh(message(task_id), now=NOW))
            stored = world.claim(task_id=task_id)
            if number % 4 == 0:
                world.succeed(stored)
            elif number % 4 == 2:
                world.fail(stored)
            elif number % 4 == 3:
                late = NOW + timedelta(seconds=LEASE_S + 1)
                waiting = world.fail(stored)
                world.cancel(world.claim(waiting, owner="2", task_id=task_id), now=late)
        return world

    def truth(self, world: World) -> dict[str, Status]:
        ids = {names.recorded_task(name) for name in world.store.names(names.TASKS)}
        return {task_id: world.read(task_id).record.status for task_id in ids}

    @pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])
    def test_no_object_is_listed_twice_on_the_way_through_all_tasks(
        self, many: World, monkeypatch: pytest.MonkeyPatch, at_once: int
    ) -> None:
        monkeypatch.setattr(record_store, "_LISTED_AT_ONCE", at_once)
        calls, objects = many.store.lists, len(many.store.names(names.TASKS))
        found = [(summary.task_id, summary.status) for summary in many.records.summaries()]
        assert many.store.lists - calls == -(-objects // at_once)
        assert len(found) == 8
        assert dict(found) == self.truth(many)

    @pytest.mark.parametrize(("id_prefix", "found"), [("a.json", 3), ("a", 7), ("a0", 1), ("c", 0)])
    def test_tasks_are_listed_by_the_beginning_of_their_ids(self, many: World, id_prefix: str, found: int) -> None:
        summaries = list(many.records.summaries(id_prefix=id_prefix))
        assert {each.task_id: each.status for each in summaries} == {
            task_id: status for task_id, status in self.truth(many).items() if task_id.startswith(id_prefix)
        }
        assert len(summaries) == found


def test_versions_are_numbers_and_back() -> None:
    for version in (Version(), Version(3, True, 5, 1_760_000_000_000_000, 0), Version(submitted=7)):
        assert Version.of(version.number) == version
    assert Version().number == ABSENT


class Histories(RuleBasedStateMachine):
    """Callers that write on what they have read, some of it long ago."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.now = NOW
        self.snapshots: list[Stored | None] = [None, None]
        self.owners = 0
        #: What the last step came to.
        self.truth: TaskRecord | None = None
        self.asked_at: datetime | None = None

    callers = st.integers(0, 1)

    @rule(caller=callers)
    def someone_reads(self, caller: int) -> None:
        self.snapshots[caller] = self.world.records.read("t-1")

    @rule(seconds=st.integers(1, LEASE_S))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def it_is_submitted(self) -> None:
        fresh = transitions.fresh(message(), now=self.now)
        try:
            self.world.records.submit(fresh)
        except PreconditionFailed:
            return
        self.truth = self.truth or fresh

    @rule(caller=callers)
    def someone_claims(self, caller: int) -> None:
        stored = self.snapshots[caller]
        self.owners += 1
        decided = transitions.claim(
            stored.record if stored else None,
            message(),
            owner=str(self.owners),
            worker="w",
            now=self.now,
            lease_s=LEASE_S,
            max_attempts=4,
        )
        if isinstance(decided, transitions.Run | transitions.TakeOver | transitions.Exhausted):
            self._step(caller, lambda record: decided.record)

    @rule(caller=callers, how=st.sampled_from(["succeeded", "retried", "died", "stopped"]))
    def someone_ends_its_attempt(self, caller: int, how: str) -> None:
        ends: dict[str, Callable[[TaskRecord], TaskRecord]] = {
            "succeeded": lambda record: transitions.succeeded(record, now=self.now, result=1),
            "retried": lambda record: transitions.retried(record, error=ERROR, now=self.now),
            "died": lambda record: transitions.died(record, reason="boom", now=self.now),
            "stopped": lambda record: transitions.stopped(record, now=self.now),
        }
        if self._sees(caller, Status.RUNNING):
            self._step(caller, ends[how])

    @rule(caller=callers)
    def someone_renews_its_lease(self, caller: int) -> None:
        if self._sees(caller, Status.RUNNING):
            self._write(caller, lambda record: transitions.renewed(record, now=self.now, lease_s=LEASE_S), writer="w")

    @rule(caller=callers)
    def someone_cancels(self, caller: int) -> None:
        stored = self.snapshots[caller]
        if stored is None or stored.record.status.final:
            return
        asked = transitions.cancel_requested(stored.record, now=self.now)
        if asked.status is not Status.RUNNING:
            self._step(caller, lambda record: asked)
        elif self._write(caller, lambda record: asked):
            self.asked_at = self.asked_at or self.now

    @rule(caller=callers)
    def someone_replays(self, caller: int) -> None:
        if self._sees(caller, Status.DEAD) and self._step(
            caller, lambda record: transitions.replayed(record, now=self.now)
        ):
            self.asked_at = None

    def _sees(self, caller: int, status: Status) -> bool:
        stored = self.snapshots[caller]
        return stored is not None and stored.record.status is status

    def _step(self, caller: int, change: Callable[[TaskRecord], TaskRecord]) -> bool:
        """A change of the record: where it is written, it was made of the truth, and is the truth."""
        before, stored = self.truth, self.snapshots[caller]
        if not self._write(caller, change):
            return False
        seen = stored.record if stored else None
        assert (seen and (seen.status, seen.attempts)) == (before and (before.status, before.attempts)) or (
            # A worker that has read nothing may claim what was just submitted.
            seen is None and before is not None and not before.attempts and before.status is Status.QUEUED
        )
        written = self.snapshots[caller]
        assert written is not None
        self.truth = written.record
        return True

    def _write(self, caller: int, change: Callable[[TaskRecord], TaskRecord], writer: str = "") -> bool:
        stored = self.snapshots[caller]
        record = change(stored.record if stored else transitions.fresh(message(), now=self.now))
        try:
            self.snapshots[caller] = self.world.records.write(
                record, if_generation=stored.generation if stored else ABSENT, writer=writer
            )
        except PreconditionFailed:
            return False
        return True

    @precondition(lambda self: self.truth is not None)
    @invariant()
    def the_last_step_is_the_truth(self) -> None:
        stored = self.world.records.read("t-1")
        assert stored is not None
        assert self.truth is not None
        assert (stored.record.status, stored.record.attempts) == (self.truth.status, self.truth.attempts)
        [summary] = self.world.records.summaries()
        assert summary.status is self.truth.status

    @invariant()
    def looking_finds_the_version_that_reading_finds(self) -> None:
        stored = self.world.records.read("t-1")
        assert self.world.records.generation("t-1") == (stored.generation if stored else ABSENT)

    @invariant()
    def no_cancel_call_that_was_taken_is_lost(self) -> None:
        stored = self.world.records.read("t-1")
        if self.asked_at is not None:
            assert stored is not None
            assert stored.record.status.final or stored.record.cancel_requested_at is not None


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
