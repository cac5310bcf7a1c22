"""Each rule by which a record changes, at its edges; test_records.py has them in any order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.large_values import payload_object
from poolhouse.pipeline.tasks.links import Link, Links
from poolhouse.pipeline.tasks.records import (
    Attempt,
    ErrorInfo,
    FollowUp,
    Outcome,
    Progress,
    ResultObject,
    Status,
    Step,
    TaskRecord,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=1)
LATER = NOW + timedelta(seconds=20)
ERROR = ErrorInfo(type="RuntimeError", message="boom")
LARGE = payload_object("t-1", b"[1, 2, 3]")
LINKS = Links(parent_id="t-0", trigger="files", on_failure=Link(task_type="cry", queue="default"))
PROGRESS = Progress(done=0.5, at=NOW)


def task(**fields: Any) -> TaskMessage:
    given: dict[str, Any] = {"task_id": "t-1", "task_type": "echo", "submitted_at": NOW, "queue": "default"}
    return TaskMessage(**{**given, "payload": {"n": 1}, **fields})


def claim(record: TaskRecord | None, *, now: datetime = NOW, **fields: Any) -> transitions.Claim:
    given: dict[str, Any] = {"owner": "me", "worker": "w", "lease_s": 20, "max_attempts": 3}
    return transitions.claim(record, task(), now=now, **{**given, **fields})


def running(**fields: Any) -> TaskRecord:
    decision = claim(None)
    assert isinstance(decision, transitions.Run)
    return decision.record.model_copy(update=fields)


def exhausted(decision: transitions.Claim) -> TaskRecord:
    assert isinstance(decision, transitions.Exhausted)
    return decision.record


def taken_over(decision: transitions.Claim) -> TaskRecord:
    assert isinstance(decision, transitions.TakeOver)
    return decision.record


def dead(**fields: Any) -> TaskRecord:
    return transitions.died(running(), reason="boom", now=NOW, error=ERROR).model_copy(update=fields)


@pytest.mark.parametrize(("flags", "recorded"), [("00", False), ("01", True), ("02", False), ("03", True)])
def test_a_record_names_the_trace_that_its_task_was_submitted_in_if_it_is_recorded(flags: str, recorded: bool) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = task(trace={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-{flags}"})
    unread = transitions.fresh(task(), now=NOW).model_copy(update={"task_type": ""})
    for record in (transitions.fresh(traced, now=NOW), transitions.identified(unread, traced)):
        assert record.trace_id == (trace_id if recorded else None)


def test_a_fresh_record_has_all_that_the_message_says() -> None:
    record = transitions.fresh(task(links=LINKS, webhook_url="https://example.com/hook"), now=LATER)
    assert record == TaskRecord(
        task_id="t-1",
        task_type="echo",
        queue="default",
        status=Status.QUEUED,
        submitted_at=NOW,
        updated_at=LATER,
        payload={"n": 1},
        parent_id="t-0",
        trigger="files",
        on_failure=LINKS.on_failure,
        webhook_url="https://example.com/hook",
    )


def test_a_record_refers_to_a_large_payload_and_does_not_hold_it() -> None:
    record = transitions.fresh(task(payload_object=LARGE), now=NOW)
    assert (record.payload, record.payload_object) == ({}, LARGE)


def test_a_task_is_scheduled_until_its_time_and_queued_from_then_on() -> None:
    early = transitions.fresh(task(not_before=LATER), now=LATER - timedelta(milliseconds=1))
    due = transitions.fresh(task(not_before=LATER), now=LATER)
    assert (early.status, early.not_before) == (Status.SCHEDULED, LATER)
    assert (due.status, due.not_before) == (Status.QUEUED, None)


def test_a_task_that_waits_for_a_limit_is_a_fresh_one_with_the_limit() -> None:
    record = transitions.waiting(task(), limit="two at a time", now=NOW)
    assert record == transitions.fresh(task(), now=NOW).model_copy(update={"waits_for": "two at a time"})
    decision = claim(record)
    assert isinstance(decision, transitions.Run)
    assert decision.record.waits_for is None


def test_attempts_are_counted_by_the_record_or_by_the_caller() -> None:
    record = running()
    assert transitions.after_failure(record, ERROR, 2) == transitions.Again()
    assert transitions.after_failure(record, ERROR, 1) == transitions.Dead(
        reason="all 1 attempts used up; the last one: RuntimeError: boom"
    )
    assert transitions.after_failure(record, "it was lost", 2, attempts=2) == transitions.Dead(
        reason="all 2 attempts used up; the last one: it was lost"
    )
    assert transitions.after_failure(record, ERROR, 2, attempts=1) == transitions.Again()


def test_a_lease_holds_until_its_end_and_not_at_it() -> None:
    record = running()
    assert claim(record, owner="you", now=LATER - timedelta(milliseconds=1)) == transitions.LeasedElsewhere(until=LATER)
    decision = claim(record, owner="you", now=LATER)
    assert isinstance(decision, transitions.TakeOver)
    assert decision.record.status is Status.QUEUED
    assert decision.record.attempts[-1].outcome is Outcome.LOST
    assert decision.record.attempts[-1].ended_at == LATER
    assert (decision.record.owner, decision.record.lease_until) == (None, None)
    assert isinstance(claim(running(lease_until=None), owner="you"), transitions.TakeOver)


@pytest.mark.parametrize("cancelled", [{"cancel_requested_at": NOW}, {}])
def test_a_cancelled_task_of_a_lost_worker_has_ended(cancelled: dict[str, Any]) -> None:
    record = exhausted(claim(running(**cancelled), owner="you", now=LATER, group_cancelled=not cancelled))
    assert (record.status, record.reason, record.updated_at) == (Status.CANCELLED, "cancelled", LATER)
    assert record.attempts[-1].outcome is Outcome.LOST


def test_the_last_attempt_of_a_lost_worker_is_dead() -> None:
    record = exhausted(claim(running(), owner="you", now=LATER, max_attempts=1))
    assert (record.status, record.updated_at) == (Status.DEAD, LATER)
    assert record.reason == "all 1 attempts used up; the last one: the worker was lost"


@pytest.mark.parametrize("cancelled", [{"cancel_requested_at": NOW}, {}])
def test_a_cancelled_task_that_waits_is_not_begun(cancelled: dict[str, Any]) -> None:
    waits = transitions.fresh(task(), now=NOW).model_copy(update=cancelled)
    record = exhausted(claim(waits, group_cancelled=not cancelled))
    assert (record.status, record.attempts) == (Status.CANCELLED, ())


def test_a_task_that_has_no_attempt_left_is_dead_with_the_last_error() -> None:
    waits = transitions.retried(running(), error=ERROR, now=NOW)
    record = exhausted(claim(waits, now=LATER, max_attempts=1))
    assert (record.status, record.updated_at) == (Status.DEAD, LATER)
    assert record.reason == "all 1 attempts used up; the last one: RuntimeError: boom"


def test_an_attempt_is_due_at_its_time_and_not_before() -> None:
    waits = transitions.retried(running(), error=ERROR, now=NOW, retry_at=LATER)
    assert (waits.status, waits.not_before) == (Status.SCHEDULED, LATER)
    assert claim(waits, now=LATER - timedelta(milliseconds=1)) == transitions.NotDue(until=LATER)
    assert isinstance(claim(waits, now=LATER), transitions.Run)


def test_an_attempt_begins_with_a_lease_and_without_the_progress_of_the_one_before() -> None:
    waits = transitions.retried(running(progress=PROGRESS), error=ERROR, now=NOW)
    decision = claim(waits, owner="you", worker="w-2", now=LATER, lease_s=30)
    assert isinstance(decision, transitions.Run)
    record = decision.record
    assert (record.status, record.owner, record.progress) == (Status.RUNNING, "you", None)
    assert (record.lease_until, record.updated_at) == (LATER + timedelta(seconds=30), LATER)
    assert record.attempts[-1] == Attempt(number=2, worker="w-2", started_at=LATER)


def test_the_newest_attempts_are_kept_and_their_numbers_go_on() -> None:
    record = running()
    for _ in range(transitions.KEPT_ATTEMPTS):
        decision = claim(transitions.retried(record, error=ERROR, now=NOW), max_attempts=1000)
        assert isinstance(decision, transitions.Run)
        record = decision.record
    assert [attempt.number for attempt in record.attempts] == list(range(2, transitions.KEPT_ATTEMPTS + 2))


def test_a_renewal_moves_the_lease_and_keeps_the_progress_where_there_is_no_newer() -> None:
    record = transitions.renewed(running(progress=PROGRESS), now=LATER, lease_s=5)
    assert (record.lease_until, record.updated_at) == (LATER + timedelta(seconds=5), LATER)
    assert record.progress == PROGRESS
    newer = Progress(done=0.9, at=LATER)
    assert transitions.renewed(record, now=LATER, lease_s=5, progress=newer).progress == newer


def test_steps_are_added_once_and_the_cursor_stays_where_it_is_not_moved() -> None:
    one, two = (Step(name=name, attempt=1, started_at=NOW, ended_at=NOW) for name in ("one", "two"))
    record = transitions.carried_on(running(), steps=[one], cursor=(5,))
    again = transitions.carried_on(record, steps=[one.model_copy(update={"attempt": 2}), two], cursor=None)
    assert (again.steps, again.cursor) == ((one, two), 5)
    assert transitions.carried_on(again, steps=[], cursor=(None,)).cursor is None


def test_a_success_keeps_all_that_the_handler_gave() -> None:
    follow_up = FollowUp(task_id="t-2", task_type="echo", queue="default", payload={})
    group = Group(group_id="g", created_at=NOW)
    result = ResultObject(name="results/x", size_bytes=3)
    record = transitions.succeeded(
        running(waits_for="x"),
        now=LATER,
        result_object=result,
        follow_ups=(follow_up,),
        groups=(group,),
        progress=PROGRESS,
    )
    assert (record.status, record.updated_at) == (Status.SUCCEEDED, LATER)
    assert (record.result_object, record.follow_ups, record.groups) == (result, (follow_up,), (group,))
    assert (record.owner, record.lease_until, record.not_before, record.waits_for) == (None, None, None, None)
    assert (record.attempts[-1].outcome, record.attempts[-1].ended_at) == (Outcome.SUCCEEDED, LATER)
    assert record.progress == PROGRESS


def test_a_success_without_groups_and_news_keeps_none_and_the_last_progress() -> None:
    record = transitions.succeeded(running(progress=PROGRESS), now=LATER, result={"a": 1})
    assert (record.result, record.groups, record.progress) == ({"a": 1}, None, PROGRESS)


def test_an_attempt_that_does_not_count_leaves_the_number_of_attempts_as_it_was() -> None:
    counted = transitions.retried(running(), error=ERROR, now=NOW)
    uncounted = transitions.retried(running(), error=ERROR, now=NOW, counts=False)
    assert (counted.counted_attempts, uncounted.counted_attempts) == (1, 0)
    assert counted.attempts == uncounted.attempts
    assert counted.attempts[-1].error == ERROR


@pytest.mark.parametrize(
    ("end", "status", "outcome"),
    [
        (
            lambda: transitions.failed(running(), error=ERROR, reason="bad\x00", now=LATER),
            Status.FAILED,
            Outcome.REJECTED,
        ),
        (lambda: transitions.died(running(), error=ERROR, reason="bad\x00", now=LATER), Status.DEAD, Outcome.FAILED),
    ],
)
def test_an_end_has_its_error_and_a_reason_that_can_be_read(
    end: Callable[[], TaskRecord], status: Status, outcome: Outcome
) -> None:
    record = end()
    assert (record.status, record.reason, record.updated_at) == (status, "bad\\x00", LATER)
    assert (record.attempts[-1].outcome, record.attempts[-1].error) == (outcome, ERROR)
    assert (record.attempts[-1].ended_at, record.owner) == (LATER, None)


def test_a_task_that_has_ended_is_not_begun_again() -> None:
    ended = transitions.succeeded(running(), now=NOW)
    assert claim(ended, now=LATER) == transitions.Finished(record=ended)


def test_what_ended_or_runs_has_no_time_to_wait_for() -> None:
    waits = transitions.fresh(task(not_before=LATER), now=NOW)
    assert transitions.cancelled(waits, now=NOW).not_before is None
    decision = claim(waits, now=LATER)
    assert isinstance(decision, transitions.Run)
    assert decision.record.not_before is None
    assert transitions.replayed(dead(not_before=LATER), now=NOW).not_before is None


@pytest.mark.parametrize(
    "change",
    [
        lambda: transitions.succeeded(running(), now=LATER),
        lambda: transitions.retried(running(), error=ERROR, now=LATER),
        lambda: transitions.stopped(running(), now=LATER),
        lambda: transitions.failed(running(), error=ERROR, reason="no", now=LATER),
        lambda: transitions.died(running(), reason="no", now=LATER),
        lambda: transitions.cancelled(running(), now=LATER),
        lambda: transitions.cancel_requested(running(lease_until=LATER), now=LATER),
        lambda: exhausted(claim(running(), now=LATER, owner="other", max_attempts=1)),
        lambda: exhausted(claim(running(), now=LATER, owner="other", group_cancelled=True)),
        lambda: taken_over(claim(running(), now=LATER, owner="other")),
    ],
)
def test_a_change_that_ends_an_attempt_notes_when(change: Callable[[], TaskRecord]) -> None:
    record = change()
    assert (record.updated_at, record.attempts[-1].ended_at) == (LATER, LATER)


@pytest.mark.parametrize(
    "change",
    [
        lambda: transitions.cancel_requested(running(), now=SOON),
        lambda: transitions.cancel_requested(transitions.fresh(task(), now=NOW), now=SOON),
        lambda: transitions.discarded(dead(), now=SOON),
        lambda: exhausted(claim(transitions.fresh(task(), now=NOW), now=SOON, group_cancelled=True)),
    ],
)
def test_every_other_change_notes_when_too(change: Callable[[], TaskRecord]) -> None:
    assert change().updated_at == SOON


def test_an_attempt_that_has_ended_is_not_ended_again() -> None:
    waits = transitions.retried(running(), error=ERROR, now=NOW)
    assert transitions.cancelled(waits, now=LATER).attempts == waits.attempts


def test_a_cancel_call_asks_the_worker_that_has_the_task_and_ends_it_otherwise() -> None:
    asked = transitions.cancel_requested(running(), now=NOW + timedelta(seconds=5))
    assert (asked.status, asked.cancel_requested_at) == (Status.RUNNING, NOW + timedelta(seconds=5))
    assert asked.updated_at == NOW + timedelta(seconds=5)
    again = transitions.cancel_requested(asked, now=NOW + timedelta(seconds=6))
    assert again.cancel_requested_at == NOW + timedelta(seconds=5)
    for record, at in ((running(), LATER), (running(lease_until=None), NOW), (transitions.fresh(task(), now=NOW), NOW)):
        ended = transitions.cancel_requested(record, now=at, reason="not wanted")
        assert (ended.status, ended.reason) == (Status.CANCELLED, "not wanted")


@pytest.mark.parametrize(
    "message",
    [
        task(links=LINKS, webhook_url="https://example.com/hook", not_before=LATER),
        task(payload={}, payload_object=LARGE),
    ],
)
def test_a_record_gives_back_its_message(message: TaskMessage) -> None:
    assert transitions.message_of(transitions.fresh(message, now=NOW)) == message


def test_a_task_is_moved_to_another_time_or_to_now() -> None:
    moved = transitions.moved(transitions.fresh(task(), now=NOW), not_before=LATER, now=NOW)
    assert (moved.status, moved.not_before) == (Status.SCHEDULED, LATER)
    assert transitions.moved(moved, not_before=LATER, now=LATER).status is Status.QUEUED
    back = transitions.moved(moved, not_before=None, now=LATER)
    assert (back.status, back.not_before, back.updated_at) == (Status.QUEUED, None, LATER)


def test_a_task_that_was_cancelled_unread_is_known_once_its_message_is_read() -> None:
    unread = transitions.cancelled(transitions.fresh(task(task_type="", queue="", payload={}), now=NOW), now=NOW)
    message = task(links=LINKS, webhook_url="https://example.com/hook")
    expected = transitions.cancelled(transitions.fresh(message, now=NOW), now=NOW)
    assert transitions.identified(unread, message) == expected
    large = transitions.identified(unread, task(payload_object=LARGE))
    assert (large.payload, large.payload_object) == ({}, LARGE)


def test_a_replay_begins_anew_and_keeps_the_history() -> None:
    step = Step(name="one", attempt=1, started_at=NOW, ended_at=NOW)
    before = dead(
        stops=2, uncounted=3, cancel_requested_at=NOW, discarded_at=NOW, steps=(step,), cursor=7, replayed_at=(NOW,)
    )
    record = transitions.replayed(before, now=LATER)
    assert (record.status, record.counted_attempts, record.updated_at) == (Status.QUEUED, 0, LATER)
    assert (record.reason, record.cancel_requested_at, record.discarded_at) == (None, None, None)
    assert (record.stops, record.uncounted, record.forgiven_attempts) == (0, 0, 1)
    assert record.replayed_at == (NOW, LATER)
    assert (record.attempts, record.steps, record.cursor, record.payload) == (before.attempts, (step,), 7, {"n": 1})


def test_a_replay_with_another_payload_forgets_the_steps_of_the_old_one() -> None:
    step = Step(name="one", attempt=1, started_at=NOW, ended_at=NOW)
    record = transitions.replayed(dead(steps=(step,), cursor=7), now=LATER, task=task(payload={"n": 2}))
    assert (record.payload, record.payload_object, record.steps, record.cursor) == ({"n": 2}, None, (), None)
    large = transitions.replayed(dead(), now=LATER, task=task(payload_object=LARGE))
    assert (large.payload, large.payload_object) == ({}, LARGE)


def test_a_discarded_task_has_failed_for_the_reason_that_it_died_of() -> None:
    record = transitions.discarded(dead(), now=LATER)
    assert (record.status, record.reason, record.discarded_at) == (Status.FAILED, "boom", LATER)
    assert transitions.discarded(dead(reason=None), now=LATER).reason == "discarded"


def test_a_message_that_pubsub_gave_up_goes_back_as_long_as_it_comes_to_attempts() -> None:
    waits = transitions.retried(running(), error=ERROR, now=NOW)
    assert transitions.forwarded(waits, tried=None, reason="given up", now=NOW) is None
    assert transitions.forwarded(waits, tried=0, reason="given up", now=NOW) is None
    ended = transitions.forwarded(waits, tried=1, reason="given up", now=LATER)
    assert ended is not None
    assert (ended.status, ended.reason, ended.updated_at) == (Status.DEAD, "given up", LATER)
    fresh = transitions.fresh(task(), now=NOW)
    unbegun = transitions.forwarded(fresh, tried=None, reason="given up", now=NOW)
    assert unbegun is not None
    assert unbegun.status is Status.DEAD


def test_a_message_that_pubsub_gave_up_goes_back_while_its_task_is_not_due() -> None:
    waits = transitions.fresh(task(not_before=LATER), now=NOW)
    assert transitions.forwarded(waits, tried=0, reason="given up", now=LATER - timedelta(milliseconds=1)) is None
    due = transitions.forwarded(waits, tried=0, reason="given up", now=LATER)
    assert due is not None
    assert due.status is Status.DEAD
