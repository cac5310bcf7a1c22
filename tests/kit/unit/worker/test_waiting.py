"""Deliveries over a limit of all workers: parked, put off, and what their records say."""

from __future__ import annotations

from datetime import timedelta

from poolhouse.pipeline.index.entry import of_message
from poolhouse.pipeline.messaging.message import NOT_BEFORE, PUT_OFF, parse_time
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import earlier_deliveries
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.worker.runtime.admission.shared_gate import MOST_WAITING
from tests.kit.unit.worker.conftest import Engine, FakeDelivery


def crowd(engine: Engine) -> None:
    """As many that wait for one key as may."""
    for number in range(MOST_WAITING):
        parked = engine.task("turns", f"parked-{number}", n=1)
        engine.attempts.process(parked)
        assert parked.ended == []


def put_off(engine: Engine, delivery: FakeDelivery) -> FakeDelivery:
    """The copy that comes again in the place of a delivery."""
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    message = engine.topics.published[-1].message
    return FakeDelivery(data=message.data, attributes=message.attributes, published_at=engine.clock.now)


def test_one_too_many_comes_again_later_as_a_copy_and_its_record_says_what_it_waits_for(engine: Engine) -> None:
    crowd(engine)
    copy = put_off(engine, engine.task("turns", "late", n=1))
    due = parse_time(copy.attributes[NOT_BEFORE])
    assert copy.attributes[PUT_OFF] == "true"
    assert of_message(copy.data, copy.attributes, engine.clock.now).status == "queued"
    assert timedelta(seconds=5) <= due - engine.clock.now <= timedelta(minutes=9)
    record = engine.record("late")
    assert (record.status, record.waits_for) == (Status.QUEUED, "the turn of turns (n=1)")
    assert len([name for name in engine.store.writes if name.startswith("tasks/")]) == 1
    assert engine.dead_letters == []


def test_a_duplicate_of_a_task_that_has_ended_does_not_write_that_it_waits(engine: Engine) -> None:
    now = engine.clock()
    record = TaskRecord(
        task_id="done", task_type="turns", queue="default", status=Status.RUNNING, submitted_at=now, updated_at=now
    )
    running = engine.records.write(record, if_generation=ABSENT)
    engine.records.write(transitions.succeeded(record, now=now, result=None), if_generation=running.generation)
    crowd(engine)
    writes = list(engine.store.writes)
    put_off(engine, engine.task("turns", "done", n=1))
    assert engine.store.writes == writes
    assert engine.record("done").status is Status.SUCCEEDED


def test_a_copy_that_comes_too_early_is_deferred_and_takes_no_place(engine: Engine) -> None:
    crowd(engine)
    copy = put_off(engine, engine.task("turns", "late", n=1))
    engine.attempts.process(copy)
    ((how, seconds),) = copy.ended
    assert how == "defer"
    assert 0 < seconds <= 540
    assert len(engine.attempts.parked()) == MOST_WAITING


def test_put_off_again_and_again_it_counts_as_one_delivery_at_most(engine: Engine) -> None:
    crowd(engine)
    delivery = engine.task("turns", "late", n=1)
    for _ in range(5):
        copy = put_off(engine, delivery)
        # The copy was delivered twice when its time has come.
        attempt = earlier_deliveries(copy.attributes) + 2
        assert attempt == 2
        engine.clock.forward(600)
        delivery = FakeDelivery(
            data=copy.data, attributes=copy.attributes, published_at=engine.clock.now, attempt=attempt
        )


def test_others_are_let_in_while_many_wait_for_one_key(engine: Engine) -> None:
    crowd(engine)
    other = engine.task("echo", "other", n=2)
    engine.attempts.process(other)
    assert other.ended == ["ack"]
    assert engine.record("other").status is Status.SUCCEEDED
