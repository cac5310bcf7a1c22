"""Attempts that fail: retried, refused, dead, and outcomes that nothing can be made of."""

from __future__ import annotations

import decimal
from typing import Any

import pytest

from poolhouse.pipeline.tasks.dead_letter_attributes import REASON
from poolhouse.pipeline.tasks.records import Status
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine


def test_an_error_is_recorded_and_the_message_nacked(engine: Engine) -> None:
    delivery = engine.task("boom")
    engine.attempts.process(delivery)
    record = engine.record()
    assert delivery.ended == ["nack"]
    assert record.status is Status.QUEUED
    error = record.attempts[0].error
    assert error is not None
    assert (error.type, error.message) == ("RuntimeError", "boom")
    assert "handlers.py" in (error.traceback or "")


@pytest.mark.parametrize("task_type", ["leave", "leave_coroutine"])
def test_a_handler_that_exits_is_a_failed_attempt_and_ends_nothing_else(engine: Engine, task_type: str) -> None:
    delivery = engine.task(task_type)
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]
    error = engine.record().attempts[0].error
    assert error is not None
    assert "SystemExit" in f"{error.type}: {error.message}"
    after = engine.task("coroutine", "t-2", n=1)
    engine.attempts.process(after)
    assert engine.record("t-2").status is Status.SUCCEEDED


def test_the_last_attempt_sends_the_message_to_the_dead_letters(engine: Engine) -> None:
    for attempt in range(1, 6):
        delivery = engine.task("boom", attempt=attempt)
        engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.record().status is Status.DEAD
    assert [letter[REASON] for letter in engine.dead_letters] == [
        "all 5 attempts used up; the last one: RuntimeError: boom"
    ]
    assert len(engine.record().attempts) == 5


def test_a_handlers_own_limit_of_attempts_beats_the_queues(engine: Engine) -> None:
    engine.attempts.process(engine.task("once"))
    assert engine.record().status is Status.DEAD


def test_a_rejected_task_fails_for_good_with_its_reason(engine: Engine) -> None:
    delivery = engine.task("reject")
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert (engine.record().status, engine.record().reason) == (Status.FAILED, "not this one")
    assert engine.dead_letters[0][REASON] == "not this one"


def test_a_retry_at_a_later_time_is_not_started_before(engine: Engine) -> None:
    delivery = engine.task("later")
    engine.attempts.process(delivery)
    assert delivery.ended == [("defer", 90)]
    engine.clock.forward(60)
    early = engine.task("later", attempt=2)
    engine.attempts.process(early)
    assert early.ended == [("defer", 30)]
    assert len(engine.record().attempts) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\x00", "not JSON"),
        (b"[1]", "not an object"),
        (b"{}", "task_type is required"),
        (b'{"task_type": 5}', "task_type is required"),
        (b'{"task_type": "echo", "task_id": "../x"}', "task id"),
        (b'{"task_type": "echo", "submitted_at": "yesterday"}', "submitted_at"),
        (b'{"task_type": "nobody"}', "unknown task type: nobody"),
    ],
)
def test_what_can_not_be_read_goes_to_the_dead_letters_with_the_reason(
    engine: Engine, data: bytes, reason: str
) -> None:
    delivery = engine.delivery(data)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert reason in engine.dead_letters[0][REASON]


def test_a_payload_that_does_not_fit_fails_for_good_naming_the_field(engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", n="many"))
    assert engine.record().status is Status.FAILED
    assert "n: Input should be a valid integer" in (engine.record().reason or "")


@pytest.mark.parametrize(
    ("n", "error"),
    [
        (0, ("_Exits", "(its text can't be read: __str__ raised SystemExit)")),
        (1, ("UnreadableError", "the error can't be read: RuntimeError: no name")),
        (2, ("SystemExit", "4")),  # of a generator, which runs when its values are encoded
    ],
)
@pytest.mark.parametrize("task_type", ["unreadable", "unreadable_coroutine"])
def test_what_an_error_or_a_result_does_when_it_is_looked_at_is_the_attempts_end_and_nobody_elses(
    engine: Engine, task_type: str, n: int, error: tuple[str, str]
) -> None:
    delivery = engine.task(task_type, n=n)
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]
    found = engine.record().attempts[0].error
    assert found is not None
    assert (found.type, found.message) == error


@pytest.mark.parametrize("task_type", ["precision", "precision_coroutine"])
def test_the_precision_that_a_handler_sets_is_no_other_tasks(engine: Engine, task_type: str) -> None:
    with decimal.localcontext():  # from here on the thread has a context, as after a result with decimals
        for task_id in ("t-1", "t-2"):
            engine.attempts.process(engine.task(task_type, task_id))
            assert engine.record(task_id).result == decimal.DefaultContext.prec


def test_a_handler_that_stops_its_event_loop_or_breaks_its_tasks_ends_no_others(engine: Engine) -> None:
    for n in (0, 1):
        engine.attempts.process(engine.task("loop_breaker", f"breaker-{n}", n=n))
        engine.attempts.process(engine.task("coroutine", f"after-{n}"))
        assert engine.record(f"breaker-{n}").status is Status.SUCCEEDED
        assert engine.record(f"after-{n}").status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("task_type", "error"),
    [("stops_itself", ("WorkerStopping", "I say so")), ("broken_model", ("KeyError", "'missing'"))],
)
def test_an_odd_error_is_a_failed_attempt_with_its_reason(
    engine: Engine, task_type: str, error: tuple[str, str]
) -> None:
    task = engine.task(task_type)
    engine.attempts.process(task)
    assert task.ended == ["nack"]
    found = engine.record().attempts[0].error
    assert found is not None
    assert (found.type, found.message) == error


def test_a_task_without_a_record_writes_nothing_and_dies_by_pubsubs_count(engine: Engine) -> None:
    engine.attempts.process(engine.task("light"))
    failing = engine.task("light", n=1)
    engine.attempts.process(failing)
    last = engine.task("light", n=1, attempt=2)
    engine.attempts.process(last)
    assert (failing.ended, last.ended) == (["nack"], ["ack"])
    assert len(engine.dead_letters) == 1
    assert engine.store.writes == []


@pytest.mark.parametrize(
    ("task_type", "reason"),
    [
        ("not_json", "the handler returned, but its result can't be kept: the result.x is a builtins.object"),
        ("rude_reject", "404"),
        ("silent_retry", "all 1 attempts used up; the last one: Busy: "),
    ],
)
def test_an_odd_outcome_is_final_after_one_run(engine: Engine, task_type: str, reason: str) -> None:
    delivery = engine.task(task_type)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    record = engine.record()
    assert record.status.final
    assert (record.reason or "").startswith(reason)
    assert len(handlers.runs) == 1


def test_an_outcome_that_can_not_be_written_is_final_with_that_reason(engine: Engine) -> None:
    put = engine.store.put

    def refuse(name: str, data: bytes, **options: Any) -> int:
        if b'"succeeded"' in data:
            raise ValueError("not this one")
        return put(name, data, **options)

    engine.store.put = refuse  # type: ignore[method-assign]
    delivery = engine.task("echo")
    engine.attempts.process(delivery)
    assert (delivery.ended, engine.record().status) == (["ack"], Status.FAILED)
    assert engine.record().reason == "the outcome (returned) could not be recorded: not this one"
