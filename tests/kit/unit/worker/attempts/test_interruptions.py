"""Attempts that are to end early: cancelled, out of time, or their worker stops."""

from __future__ import annotations

import threading
import time

import pytest

from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.tasks import records, transitions
from poolhouse.pipeline.tasks.records import Outcome, Status, TaskRecord
from poolhouse.worker.errors import TaskCancelled, WorkerStopping
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.attempts.losing import message_of
from tests.kit.unit.worker.conftest import Engine
from tests.kit.waiting import until


def test_a_cancelled_task_never_starts(engine: Engine) -> None:
    task = engine.task("echo")
    fresh = transitions.fresh(message_of(task, engine), now=engine.clock.now)
    engine.records.write(transitions.cancel_requested(fresh, now=engine.clock.now), if_generation=0)
    engine.attempts.process(task)
    assert task.ended == ["ack"]
    assert handlers.runs == []


def test_a_record_made_by_a_cancel_call_learns_from_the_message_what_task_it_was(engine: Engine) -> None:
    task = engine.task("echo", n=4)
    unknown = records.TaskRecord(
        task_id="t-1",
        task_type="",
        queue="",
        status=Status.CANCELLED,
        submitted_at=engine.clock.now,
        updated_at=engine.clock.now,
        reason="cancelled",
    )
    engine.records.write(unknown, if_generation=0)
    engine.attempts.process(task)
    engine.attempts.process(engine.task("echo", n=4, attempt=2))
    record = engine.record()
    assert (record.status, record.task_type, record.queue, record.payload) == (
        Status.CANCELLED,
        "echo",
        "default",
        {"n": 4},
    )
    assert len(engine.store.writes) == 2
    assert [summary.task_type for summary in engine.records.summaries()] == ["echo"]


def test_a_running_task_learns_that_it_was_cancelled(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(lambda: handlers.runs)
    stored = engine.records.read("t-1")
    assert stored is not None
    engine.records.write(
        transitions.cancel_requested(stored.record, now=engine.clock.now), if_generation=stored.generation
    )
    for running in engine.heartbeat.tasks():
        running.look()
    thread.join(5)
    assert task.ended == ["ack"]
    assert engine.record().status is Status.CANCELLED


def test_a_cancel_call_that_comes_too_late_does_not_undo_the_result(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(lambda: handlers.runs)
    stored = engine.records.read("t-1")
    assert stored is not None
    engine.records.write(
        transitions.cancel_requested(stored.record, now=engine.clock.now), if_generation=stored.generation
    )
    handlers.go_on.set()
    thread.join(5)
    assert (engine.record().status, engine.record().result) == (Status.SUCCEEDED, "went on")


def test_a_time_limit_ends_a_handler_at_its_checkpoint(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 2)
    engine.heartbeat.tick()
    thread.join(5)
    assert task.ended == ["nack"]
    error = engine.record().attempts[0].error
    assert error is not None
    assert (error.type, error.message) == ("TaskTimeout", "the handler ran longer than 1 s")


def test_a_handler_that_heeds_nothing_is_given_up_at_the_hard_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = engine.task("deaf")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 60)
    engine.heartbeat.tick()
    assert task.ended == ["nack"]
    assert engine.abandoned == [thread.ident]
    handlers.go_on.set()
    thread.join(5)
    assert task.ended == ["nack"]
    assert engine.record().status is Status.QUEUED


def test_a_handler_that_heeds_no_cancel_call_is_cancelled_at_the_hard_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = engine.task("deaf")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    engine.heartbeat.tasks()[0].interrupt(TaskCancelled("cancelled"))
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 60)
    engine.heartbeat.tick()
    assert (task.ended, engine.record().status) == (["ack"], Status.CANCELLED)
    handlers.go_on.set()
    thread.join(5)
    assert task.ended == ["ack"]


def test_a_stopping_worker_hands_over_what_it_runs_and_the_attempt_does_not_count(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(engine.heartbeat.tasks)
    for running in engine.heartbeat.tasks():
        running.interrupt(WorkerStopping("stop"))
    thread.join(5)
    assert task.ended == [("hand over", "t-1")]
    record = engine.record()
    assert (record.status, record.attempts[0].outcome, record.counted_attempts) == (Status.QUEUED, Outcome.STOPPED, 0)


def test_a_worker_that_stops_while_storage_is_down_hands_the_task_over(engine: Engine) -> None:
    engine.store.failure = StoreUnavailable("down")
    engine.stopping.set()
    task = engine.task("echo", n=1)
    engine.attempts.process(task)
    assert task.ended == [("hand over", "t-1")]


def test_thirty_orderly_stops_use_up_no_attempt(engine: Engine) -> None:
    task = message_of(engine.task("echo"), engine)
    record: TaskRecord | None = None
    for _ in range(30):
        run = transitions.claim(record, task, owner="o", worker="w", now=engine.clock.now, lease_s=20, max_attempts=5)
        assert isinstance(run, transitions.Run)
        record = transitions.stopped(run.record, now=engine.clock.now)
    assert record is not None
    assert (record.counted_attempts, record.last_attempt, len(record.attempts)) == (0, 30, transitions.KEPT_ATTEMPTS)
