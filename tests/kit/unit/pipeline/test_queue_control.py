from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.control.control_store import ControlStore, Known
from poolhouse.pipeline.control.filters import EVERYTHING, Filter
from poolhouse.pipeline.control.state import MOST_ORDERS, NOTHING, CancelOrder, QueueControl
from poolhouse.pipeline.errors import ConfigError, Conflict
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import ErrorInfo, Status, TaskRecord
from poolhouse.pipeline.tasks.transitions import Run
from poolhouse.testing.doubles import MemoryStore

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE, LATER = AT - timedelta(minutes=1), AT + timedelta(minutes=1)
WEEK = timedelta(days=7)
TASK = TaskMessage(task_id="t", task_type="report", submitted_at=BEFORE, queue="default", payload={})


def order(**fields: object) -> CancelOrder:
    given = {"at": AT, "before": AT, "status": {Status.QUEUED, Status.SCHEDULED}, "reason": "purged", **fields}
    return CancelOrder.model_validate(given)


def claimed(record: TaskRecord | None, *, now: datetime) -> TaskRecord:
    decision = transitions.claim(record, TASK, owner="o", worker="w", now=now, lease_s=30, max_attempts=5)
    assert isinstance(decision, Run)
    return decision.record


def retried(record: TaskRecord, *, now: datetime, retry_at: datetime | None = None) -> TaskRecord:
    return transitions.retried(record, error=ErrorInfo(type="E", message="m"), now=now, retry_at=retry_at)


@pytest.mark.parametrize(
    ("fields", "concerned"),
    [
        ({}, True),
        ({"queue": "default"}, True),
        ({"queue": "bulk"}, False),
        ({"task_type": "report"}, True),
        ({"task_type": "other"}, False),
        ({"before": BEFORE}, False),
        ({"after": BEFORE}, True),
        ({"after": BEFORE + timedelta(seconds=1)}, False),
    ],
)
def test_an_order_concerns_what_its_filter_says(fields: dict[str, object], *, concerned: bool) -> None:
    assert order(**fields).concerns(TASK) == concerned
    assert bool(NOTHING.order(order(**fields), keep=WEEK).concerning(TASK, now=LATER, keep=WEEK)) == concerned


def test_an_order_concerns_nothing_once_no_message_of_it_can_be_left() -> None:
    control = NOTHING.order(order(), keep=WEEK)
    assert control.concerning(TASK, now=AT + WEEK - timedelta(seconds=1), keep=WEEK) == control.orders
    assert control.concerning(TASK, now=AT + WEEK, keep=WEEK) == ()


def test_a_task_that_waited_for_a_worker_is_cancelled_with_the_reason() -> None:
    record = order().applied(None, TASK, now=LATER)
    assert record is not None
    assert (record.status, record.reason, record.task_type) == (Status.CANCELLED, "purged", "report")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (claimed(None, now=BEFORE), "it ran when the order was given"),
        (claimed(None, now=LATER), "it began before its worker knew"),
        (retried(claimed(None, now=BEFORE), now=LATER), "it ran then, and waits for another attempt since"),
        (transitions.succeeded(claimed(None, now=BEFORE), now=BEFORE), "it has ended"),
        (
            transitions.replayed(transitions.died(claimed(None, now=BEFORE), reason="r", now=BEFORE), now=LATER),
            "it was replayed since",
        ),
    ],
)
def test_a_task_that_did_not_wait_is_spared(record: TaskRecord, why: str) -> None:
    assert order().applied(record, TASK, now=LATER + timedelta(seconds=1)) is None, why


@pytest.mark.parametrize("retry_at", [None, LATER])
def test_a_task_that_waited_for_its_next_attempt_is_cancelled(retry_at: datetime | None) -> None:
    waiting = retried(claimed(None, now=BEFORE), now=BEFORE, retry_at=retry_at)
    record = order().applied(waiting, TASK, now=LATER)
    assert record is not None
    assert record.status is Status.CANCELLED
    assert len(record.attempts) == 1


def test_only_the_statuses_of_the_order_are_meant() -> None:
    delayed = replace(TASK, not_before=LATER)
    for task, status in ((TASK, Status.QUEUED), (delayed, Status.SCHEDULED)):
        other = Status.SCHEDULED if status is Status.QUEUED else Status.QUEUED
        assert order(status={status}).applied(None, task, now=LATER) is not None
        assert order(status={other}).applied(None, task, now=LATER) is None
        assert order(status={other}).applied(transitions.fresh(task, now=BEFORE), task, now=LATER) is None


def test_a_newer_order_takes_the_place_of_those_that_it_covers() -> None:
    newer = {"at": LATER, "before": LATER}
    assert NOTHING.order(order(), keep=WEEK).order(order(**newer), keep=WEEK).orders == (order(**newer),)
    for kept in (order(queue="bulk"), order(after=BEFORE), order(task_type="other")):
        assert NOTHING.order(kept, keep=WEEK).order(order(**newer), keep=WEEK).orders == (order(**newer), kept)
    narrow = order(**newer, status={Status.QUEUED})
    assert NOTHING.order(order(), keep=WEEK).order(narrow, keep=WEEK).orders == (narrow, order())


def test_an_order_is_kept_while_a_message_may_wait() -> None:
    old = order(queue="bulk")
    assert old in NOTHING.order(old, keep=WEEK).order(order(at=AT + WEEK - timedelta(seconds=1)), keep=WEEK).orders
    assert old not in NOTHING.order(old, keep=WEEK).order(order(at=AT + WEEK), keep=WEEK).orders


def test_orders_are_not_piled_up_without_end() -> None:
    control = NOTHING
    for second in range(MOST_ORDERS):
        control = control.order(order(after=BEFORE + timedelta(seconds=second)), keep=WEEK)
    with pytest.raises(Conflict, match="by queue or task type alone"):
        control.order(order(after=LATER), keep=WEEK)


def test_a_pause_keeps_its_time_and_a_resume_ends_it() -> None:
    paused = NOTHING.pause("a", now=AT).pause("b", now=AT).pause("a", now=LATER)
    assert paused.paused == {"a": AT, "b": AT}
    assert paused.resume("a").resume("nothing").paused == {"b": AT}


def test_a_look_that_finds_nothing_new_reads_nothing() -> None:
    bucket = MemoryStore()
    store = ControlStore(bucket)
    assert store.look(Known()) == Known()
    store.change(lambda control: control.pause("a", now=AT))
    known = store.look(Known())
    assert known.control.paused == {"a": AT}
    calls = bucket.calls
    assert store.look(known) is known
    assert bucket.calls == calls + 1


def test_a_change_is_one_write_and_none_where_nothing_changes() -> None:
    bucket = MemoryStore()
    store = ControlStore(bucket)
    for _ in range(2):
        assert store.change(lambda control: control.pause("a", now=AT)).paused == {"a": AT}
    assert bucket.writes == [names.QUEUE_CONTROL]


def test_a_change_of_another_process_in_between_is_kept() -> None:
    bucket = MemoryStore()
    store = ControlStore(bucket)

    def interfere(name: str) -> None:
        bucket.before_write = lambda _: None
        ControlStore(bucket).change(lambda control: control.pause("b", now=AT))

    bucket.before_write = interfere
    assert store.change(lambda control: control.pause("a", now=AT)).paused == {"a": AT, "b": AT}


def test_an_object_that_cannot_be_read_is_named() -> None:
    bucket = MemoryStore()
    bucket.put(names.QUEUE_CONTROL, b'{"paused": 3}')
    with pytest.raises(ConfigError, match=r"config/queues\.json.*delete the object"):
        ControlStore(bucket).read()


def test_what_a_newer_version_adds_is_no_error() -> None:
    assert QueueControl.model_validate_json('{"paused": {}, "more": 1}') == NOTHING


def test_an_entry_whose_time_is_unknown_is_neither_before_nor_after() -> None:
    entry = {"queue": "q", "task_type": "t", "at": ""}
    assert EVERYTHING.matches(**entry)
    assert not Filter(before=LATER).matches(**entry)
    assert not Filter(after=BEFORE).matches(**entry)


def test_a_filter_takes_its_own_moment_in_at_the_start_and_not_at_the_end() -> None:
    assert Filter(after=AT).matches(queue="q", task_type="t", at=AT)
    assert not Filter(before=AT).matches(queue="q", task_type="t", at=AT)
