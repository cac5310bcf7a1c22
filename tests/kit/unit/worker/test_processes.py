"""Handlers in processes of their own: values, errors, interruptions, crashes."""

from __future__ import annotations

import decimal
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poolhouse.pipeline.tasks.records import Status
from poolhouse.worker.errors import TaskCancelled
from poolhouse.worker.runtime.execution.executor import Executor
from poolhouse.worker.runtime.running_task import RunningTask
from tests.kit.unit.worker.conftest import PIPELINE, Engine, FakeDelivery


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("BUCKET_NAME", "test-bucket")
    monkeypatch.setenv("PIPELINE_FILE", str(PIPELINE))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")


def test_a_process_serves_one_task_after_another_and_outlives_a_rejection(engine: Engine) -> None:
    engine.attempts.process(engine.task("own_process", "t-1"))
    engine.attempts.process(engine.task("own_process", "t-2", n=5))
    engine.attempts.process(engine.task("own_process", "t-3"))
    assert engine.record("t-1").result["pid"] not in {os.getpid(), None}
    assert engine.record("t-3").result == engine.record("t-1").result
    assert (engine.record("t-2").status, engine.record("t-2").reason) == (Status.FAILED, "not in this process")


@pytest.mark.parametrize("task_type", ["fields", "fields_of_process"])
def test_log_lines_of_a_task_in_a_recorded_trace_say_which_in_a_process_too(engine: Engine, task_type: str) -> None:
    trace_id, span_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    traced = {
        "logging.googleapis.com/trace": f"projects/{engine.settings.google_cloud_project}/traces/{trace_id}",
        "logging.googleapis.com/spanId": span_id,
    }
    for task_id, flags, expected in (("t-1", "01", traced), ("t-2", "00", {})):
        task = engine.task(task_type, task_id)
        task.attributes = {**task.attributes, "traceparent": f"00-{trace_id}-{span_id}-{flags}"}
        with capture_logs() as lines:
            engine.attempts.process(task)
        own = {"task_id": task_id, "task_type": task_type, "queue": "default", "attempt": 1}
        assert engine.record(task_id).result == {**own, **expected}
        (started,) = (line for line in lines if line["event"] == "task started")
        assert {name: value for name, value in started.items() if name in traced} == expected


def test_a_process_has_the_time_of_its_stack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "clock").write_text("864000", encoding="ascii")
    monkeypatch.setenv("CLOCK_FILE", str(tmp_path / "clock"))
    engine: Engine = request.getfixturevalue("engine")
    engine.attempts.process(engine.task("time_process"))
    ahead = datetime.fromisoformat(engine.record().result) - datetime.now(UTC)
    assert ahead > timedelta(days=9)


def test_a_process_that_dies_is_a_failed_attempt_that_says_so(engine: Engine) -> None:
    delivery = engine.task("own_process", n=9)
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]
    error = engine.record().attempts[0].error
    assert error is not None
    assert (error.type, "exit code 7" in error.message) == ("HandlerDied", True)


def test_the_precision_that_a_handler_sets_in_a_process_is_not_its_next_tasks(engine: Engine) -> None:
    for task_id in ("t-1", "t-2"):
        engine.attempts.process(engine.task("precision_process", task_id))
        assert engine.record(task_id).result == decimal.DefaultContext.prec


def test_an_error_that_can_not_be_read_is_told_and_its_process_goes_on(engine: Engine) -> None:
    engine.attempts.process(engine.task("own_process", "t-0"))
    for n, message in enumerate(("__str__ raised SystemExit", "can't be read: RuntimeError: no name", "4")):
        engine.attempts.process(engine.task("unreadable_process", f"t-{n + 1}", n=n))
        error = engine.record(f"t-{n + 1}").attempts[0].error
        assert error is not None
        assert message in error.message
    engine.attempts.process(engine.task("own_process", "t-9"))
    assert engine.record("t-9").result == engine.record("t-0").result


def test_a_result_that_can_not_leave_its_process_is_final_after_one_run(engine: Engine) -> None:
    delivery = engine.task("odd_process")
    engine.attempts.process(delivery)
    record = engine.record()
    assert (delivery.ended, record.status, len(record.attempts)) == (["ack"], Status.FAILED, 1)
    assert record.reason == (
        "the handler returned, but its result can't be kept: the result.0 is a _thread.lock, which JSON has no form for"
    )


def test_a_cancelled_process_ends_at_its_checkpoint(engine: Engine) -> None:
    delivery = engine.task("own_process", n=60)
    thread = threading.Thread(target=engine.attempts.process, args=(delivery,))
    thread.start()
    end = time.monotonic() + 10
    while not engine.heartbeat.tasks():
        assert time.monotonic() < end
        time.sleep(0.01)
    engine.heartbeat.tasks()[0].interrupt(TaskCancelled("cancelled"))
    thread.join(20)
    assert delivery.ended == ["ack"]
    assert engine.record().status is Status.CANCELLED


def test_follow_ups_of_a_process_are_those_of_a_thread_and_so_are_the_refusals(engine: Engine) -> None:
    engine.attempts.process(engine.task("parent_in_process"))
    *ids, unknown_type, invalid, unknown_queue, text = engine.record().result
    assert [follow_up.task_id for follow_up in engine.record().follow_ups] == ids
    assert [follow_up.payload for follow_up in engine.record().follow_ups] == [{"n": 1}, {"n": 2}]
    assert (unknown_type, invalid, unknown_queue) == ("KeyError", "ValueError", "KeyError")
    assert text == "a payload is a model or a mapping of its fields, not str"


def test_what_a_process_submits_by_a_reference_is_its_follow_up(engine: Engine) -> None:
    engine.attempts.process(engine.task("referring_process"))
    follow_ups = engine.record().follow_ups
    assert [(each.queue, each.payload) for each in follow_ups] == [("default", {"n": 1}), ("urgent", {"n": 2})]
    assert [each.task_id for each in follow_ups] == engine.record().result


def test_a_process_that_can_not_begin_says_why(engine: Engine) -> None:
    engine.attempts._executor = Executor(task_handlers=("tests.kit.unit.worker.no_such_module",))
    engine.attempts.process(engine.task("own_process"))
    error = engine.record().attempts[0].error
    assert error is not None
    assert error.type == "ConfigError"
    assert "tests.kit.unit.worker.no_such_module can't be imported" in error.message


def _begin_deaf(engine: Engine) -> tuple[FakeDelivery, threading.Thread, RunningTask]:
    """A handler that heeds nothing, once it runs."""
    delivery = engine.task("deaf_process")
    thread = threading.Thread(target=engine.attempts.process, args=(delivery,))
    thread.start()
    end = time.monotonic() + 30
    while not (tasks := engine.heartbeat.tasks()) or tasks[0].progress is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return delivery, thread, tasks[0]


def test_a_process_that_heeds_nothing_is_ended_at_its_hard_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery, thread, _ = _begin_deaf(engine)
    now = time.monotonic()
    monkeypatch.setattr(engine.heartbeat, "_monotonic", lambda: now + 60)
    engine.heartbeat.tick()
    thread.join(20)
    assert delivery.ended == ["nack"]
    error = engine.record().attempts[0].error
    assert error is not None
    assert (error.type, error.message) == ("TaskTimeout", "the handler ran longer than 1 s")


def test_a_process_that_heeds_no_cancel_call_is_ended_all_the_same(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolhouse.worker.runtime.execution.process_pool.ENDED_AFTER_S", 0.01)
    delivery, thread, running = _begin_deaf(engine)
    running.interrupt(TaskCancelled("cancelled"))
    thread.join(20)
    assert delivery.ended == ["ack"]
    assert engine.record().status is Status.CANCELLED
