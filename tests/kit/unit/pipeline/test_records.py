"""The life of a record: whatever happens, in whatever order, its rules hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import ErrorInfo, Outcome, Status, TaskRecord

LEASE_S = 20
MAX_ATTEMPTS = 3
TASK = TaskMessage(
    task_id="t-1", task_type="echo", submitted_at=datetime(2026, 3, 1, tzinfo=UTC), queue="default", payload={"n": 1}
)
ERROR = ErrorInfo(type="RuntimeError", message="boom")


class RecordLife(RuleBasedStateMachine):
    """Workers that claim, die, stop, fail and succeed; clients that cancel and replay; a clock that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = TASK.submitted_at
        self.record: TaskRecord | None = None
        self.owners = 0
        self.seen_final: TaskRecord | None = None

    def running(self) -> bool:
        return self.record is not None and self.record.status is Status.RUNNING

    @rule(seconds=st.sampled_from([1, LEASE_S / 2, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def a_worker_claims(self) -> None:
        self.owners += 1
        before = self.record
        decision = transitions.claim(
            before,
            TASK,
            owner=str(self.owners),
            worker=f"w{self.owners}",
            now=self.now,
            lease_s=LEASE_S,
            max_attempts=MAX_ATTEMPTS,
        )
        if isinstance(decision, transitions.Run):
            assert before is None or not before.status.final
            assert before is None or before.cancel_requested_at is None
            if before is not None and before.status is Status.RUNNING:
                assert (before.lease_until or self.now) <= self.now
            assert decision.record.owner == str(self.owners)
            self.record = decision.record
        elif isinstance(decision, transitions.Exhausted):
            assert decision.record.status in {Status.DEAD, Status.CANCELLED}
            self.record = decision.record
        elif isinstance(decision, transitions.Finished):
            assert before is not None
            assert before.status.final
        elif isinstance(decision, transitions.LeasedElsewhere | transitions.NotDue):
            assert decision.until > self.now

    @precondition(running)
    @rule()
    def it_succeeds(self) -> None:
        assert self.record
        self.record = transitions.succeeded(self.record, now=self.now, result=1)

    @precondition(running)
    @rule(after_s=st.none() | st.integers(1, 100))
    def it_fails(self, after_s: int | None) -> None:
        assert self.record
        decision = transitions.after_failure(self.record, ERROR, MAX_ATTEMPTS)
        if isinstance(decision, transitions.Dead):
            assert decision.reason == "all 3 attempts used up; the last one: RuntimeError: boom"
            self.record = transitions.died(self.record, reason=decision.reason, now=self.now, error=ERROR)
        else:
            at = None if after_s is None else self.now + timedelta(seconds=after_s)
            self.record = transitions.retried(self.record, error=ERROR, now=self.now, retry_at=at)

    @precondition(running)
    @rule()
    def it_is_busy(self) -> None:
        assert self.record
        counted = self.record.counted_attempts
        self.record = transitions.retried(self.record, error=ERROR, now=self.now, counts=False)
        assert self.record.counted_attempts == counted - 1

    @precondition(running)
    @rule()
    def it_is_refused(self) -> None:
        assert self.record
        self.record = transitions.failed(self.record, error=ERROR, reason="no", now=self.now)

    @precondition(running)
    @rule()
    def its_worker_stops(self) -> None:
        assert self.record
        counted = self.record.counted_attempts
        self.record = transitions.stopped(self.record, now=self.now)
        assert self.record.counted_attempts == counted - 1

    @precondition(running)
    @rule()
    def its_lease_is_renewed(self) -> None:
        assert self.record
        self.record = transitions.renewed(self.record, now=self.now, lease_s=LEASE_S)

    @precondition(lambda self: self.record is not None and not self.record.status.final)
    @rule()
    def a_client_cancels(self) -> None:
        assert self.record
        self.record = transitions.cancel_requested(self.record, now=self.now)
        assert self.record.status is Status.CANCELLED or self.record.cancel_requested_at is not None

    @precondition(lambda self: self.record is not None and self.record.status in {Status.DEAD, Status.FAILED})
    @rule()
    def it_is_replayed(self) -> None:
        assert self.record
        history = self.record.attempts
        self.record = transitions.replayed(self.record, now=self.now)
        self.seen_final = None
        assert self.record.attempts == history
        assert self.record.counted_attempts == 0

    @invariant()
    def attempts_stay_within_their_limit(self) -> None:
        if self.record is not None:
            assert 0 <= self.record.counted_attempts <= MAX_ATTEMPTS

    @invariant()
    def one_attempt_at_most_is_open_and_it_is_the_last(self) -> None:
        if self.record is None:
            return
        open_ones = [attempt.outcome is Outcome.RUNNING for attempt in self.record.attempts]
        assert not any(open_ones[:-1])
        assert (bool(open_ones) and open_ones[-1]) == (self.record.status is Status.RUNNING)

    @invariant()
    def attempts_are_numbered_without_gaps(self) -> None:
        if self.record is not None and self.record.attempts:
            numbers = [attempt.number for attempt in self.record.attempts]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert len(numbers) <= transitions.KEPT_ATTEMPTS

    @invariant()
    def a_final_record_stays_as_it_is_and_has_no_owner(self) -> None:
        if self.record is None or not self.record.status.final:
            return
        assert self.record.owner is None
        assert self.seen_final is None or self.seen_final == self.record
        self.seen_final = self.record

    @invariant()
    def a_record_survives_its_json(self) -> None:
        if self.record is not None:
            assert TaskRecord.model_validate_json(self.record.model_dump_json(exclude_defaults=True)) == self.record


TestRecordLife = RecordLife.TestCase


def test_a_claim_that_is_there_already_is_no_second_attempt() -> None:
    def claim(record: TaskRecord | None) -> transitions.Claim:
        return transitions.claim(
            record, TASK, owner="me", worker="w", now=TASK.submitted_at, lease_s=LEASE_S, max_attempts=MAX_ATTEMPTS
        )

    first = claim(None)
    assert isinstance(first, transitions.Run)
    assert claim(first.record) == transitions.AlreadyClaimed(record=first.record)
