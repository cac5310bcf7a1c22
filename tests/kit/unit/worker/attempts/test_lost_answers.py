"""Storage that fails, or whose answers are lost."""

from __future__ import annotations

import threading

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.tasks.records import Outcome, Status
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.attempts.losing import lose_all_attempts
from tests.kit.unit.worker.conftest import Engine
from tests.kit.waiting import until


def lose_answer(engine: Engine, *, of_write: int) -> None:
    """The nth write of a record takes effect, but storage does not answer in time."""

    def after(name: str) -> None:
        if engine.store.writes.count(name) == of_write:
            raise StoreUnavailable("no answer")

    engine.store.after_write = after


def test_a_claim_that_took_effect_without_an_answer_is_the_same_attempt(engine: Engine) -> None:
    lose_answer(engine, of_write=1)
    delivery = engine.task("echo", n=3)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.SUCCEEDED]
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_a_result_that_took_effect_without_an_answer_is_acked_at_once(engine: Engine) -> None:
    lose_answer(engine, of_write=2)
    delivery = engine.task("echo", n=3)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.record().result == {"n": 3}
    assert (engine.attempts.counts["succeeded"], engine.attempts.counts["duplicates"]) == (1, 0)
    assert engine.store.writes == [names.claim("t-1"), names.record("t-1")]


def test_a_failed_attempt_that_took_effect_without_an_answer_is_retried_as_ever(engine: Engine) -> None:
    lose_answer(engine, of_write=2)
    delivery = engine.task("boom")
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.FAILED]


def test_a_death_that_took_effect_without_an_answer_is_counted(engine: Engine) -> None:
    task = engine.task("echo", n=1)
    lose_all_attempts(engine, task)
    lose_answer(engine, of_write=2)
    engine.attempts.process(task)
    assert engine.record().status is Status.DEAD
    assert (engine.attempts.counts["dead"], engine.attempts.counts["duplicates"]) == (1, 0)


def test_storage_that_fails_is_waited_for(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolhouse.worker.runtime.retrying.FIRST_WAIT_S", 0.001)
    engine.store.failure = StoreUnavailable("down")
    task = engine.task("echo", n=1)
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    calls = engine.store.calls
    until(lambda: engine.store.calls > calls + 2)
    assert task.ended == []
    engine.store.failure = None
    thread.join(10)
    assert task.ended == ["ack"]
    assert handlers.runs == ["t-1"]
