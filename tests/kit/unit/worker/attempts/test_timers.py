"""Attempts and follow-ups that are due in hours: timers."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks.dead_letter_attributes import EARLIER_DELIVERIES
from poolhouse.pipeline.tasks.records import Outcome, Status
from poolhouse.pipeline.timing.timers import Timers
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.attempts.losing import message_of
from tests.kit.unit.worker.conftest import Engine, FakeDelivery


def test_a_retry_of_hours_is_a_timer_and_comes_again_then(engine: Engine) -> None:
    first = engine.task("hours")
    engine.attempts.process(first)
    record = engine.record()
    assert first.ended == ["ack"]
    assert (record.status, record.not_before) == (Status.SCHEDULED, engine.clock.now + timedelta(hours=6))
    [name] = engine.store.names(names.TIMERS)
    assert len(engine.store.writes) == 3  # the claim, the end of the attempt, the timer
    # A copy of the message meanwhile starts nothing, and makes no second timer.
    copy = engine.task("hours", attempt=2)
    engine.attempts.process(copy)
    assert (copy.ended, engine.store.names(names.TIMERS)) == (["ack"], (name,))
    timers, publisher = Timers(engine.store), Publisher(engine.settings, topics=engine.topics)
    engine.clock.forward(6 * 3600 - 60)
    assert timers.fire(publisher, until=engine.clock.now + timedelta(seconds=60)) == 1
    (published,) = engine.topics.published
    early = FakeDelivery(published.message.data, published.message.attributes, engine.clock.now)
    engine.attempts.process(early)
    assert early.ended == [("defer", pytest.approx(60))]
    engine.clock.forward(60)
    engine.attempts.process(early)
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.FAILED, Outcome.FAILED]


def test_a_type_without_records_counts_its_attempts_across_a_timer(engine: Engine) -> None:
    first = engine.task("light_hours", attempt=2)
    engine.attempts.process(first)
    assert first.ended == ["ack"]
    engine.clock.forward(6 * 3600)
    Timers(engine.store).fire(Publisher(engine.settings, topics=engine.topics), until=engine.clock.now)
    assert engine.topics.published[0].message.attributes[EARLIER_DELIVERIES] == "2"
    assert engine.records.read("t-1") is None


def test_a_worker_that_dies_between_record_and_timer_leaves_a_message_that_makes_the_timer(engine: Engine) -> None:
    def stop(name: str) -> None:
        if name.startswith(names.TIMERS):
            engine.stopping.set()
            raise StoreUnavailable("no answer")

    engine.store.before_write = stop
    first = engine.task("hours")
    engine.attempts.process(first)
    assert first.ended == ["nack"]
    assert engine.store.names(names.TIMERS) == ()
    engine.store.before_write = lambda name: None
    engine.stopping.clear()
    again = engine.task("hours", attempt=2)
    engine.another("worker-2").process(again)
    assert again.ended == ["ack"]
    assert len(engine.store.names(names.TIMERS)) == 1
    assert len(engine.record().attempts) == 1


def test_a_delayed_follow_up_is_a_timer_made_once_its_parent_has_succeeded(engine: Engine) -> None:
    engine.attempts.process(engine.task("delaying_parent"))
    [name] = engine.store.names(names.TIMERS)
    assert names.timer_due_at(name) == engine.clock.now + timedelta(days=1)
    assert engine.topics.published == []
    assert engine.record().status is Status.SUCCEEDED
    [follow_up] = [each for each in engine.records.summaries() if each.status is Status.SCHEDULED]
    assert (follow_up.task_id, follow_up.task_type) == (engine.record().result, "echo")
    writes = len(engine.store.writes)
    engine.attempts.process(engine.task("delaying_parent", attempt=2))
    assert len(engine.store.writes) == writes == 4  # claim and result; timer and record of the follow-up


def test_two_schedulers_that_fire_the_same_timers_make_one_run_of_each(engine: Engine) -> None:
    publisher, timers = Publisher(engine.settings, topics=engine.topics), Timers(engine.store)
    for number in range(20):
        task = message_of(engine.task("echo", f"t-{number}", n=number), engine)
        due_at = engine.clock.now + timedelta(hours=1)
        timers.put("default", task.data(), task.attributes(), task_id=task.task_id, not_before=due_at)
    engine.clock.forward(3600)
    together = threading.Barrier(2)

    def fire() -> None:
        together.wait()
        Timers(engine.store).fire(publisher, until=engine.clock.now)

    schedulers = [threading.Thread(target=fire) for _ in range(2)]
    for scheduler in schedulers:
        scheduler.start()
    for scheduler in schedulers:
        scheduler.join()
    messages = [published.message for published in engine.topics.published]
    # Both lists may be read before the first delete: a copy of a message is what may come of it, never less than one.
    for message in [*messages, *messages]:
        engine.attempts.process(FakeDelivery(message.data, message.attributes, engine.clock.now, attempt=2))
    assert sorted(handlers.runs) == sorted(f"t-{number}" for number in range(20))
    assert engine.store.names(names.TIMERS) == ()
