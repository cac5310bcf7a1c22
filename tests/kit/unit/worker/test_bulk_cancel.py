"""Cancel orders as a worker follows them: tasks that wait in a queue, met one by one."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from poolhouse.pipeline.control.state import NOTHING, CancelOrder, QueueControl
from poolhouse.pipeline.messaging.message import NOT_BEFORE, PUT_OFF, TaskMessage, format_time
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import Status
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine
from tests.kit.waiting import until

WEEK = timedelta(days=7)


def purge(engine: Engine, **fields: object) -> None:
    now = engine.clock.now
    given = {"at": now, "before": now, "status": {Status.QUEUED, Status.SCHEDULED}, "reason": "purged", **fields}
    decided: QueueControl = NOTHING.order(CancelOrder.model_validate(given), keep=WEEK)
    engine.control = decided


def test_a_purged_task_never_runs_and_costs_one_write(engine: Engine) -> None:
    delivery = engine.task("echo", n=1)
    engine.clock.forward(1)
    purge(engine)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert (engine.record().status, engine.record().reason) == (Status.CANCELLED, "purged")
    assert handlers.runs == []
    assert engine.store.writes == ["tasks/t-1.json,claim"]
    assert engine.attempts.counts["cancelled"] == 1
    again = engine.task("echo", n=1, attempt=2)
    engine.attempts.process(again)
    assert again.ended == ["ack"]
    assert len(engine.store.writes) == 1


def test_a_task_submitted_later_runs_and_costs_what_it_did(engine: Engine) -> None:
    plain = engine.task("echo", "t-plain")
    engine.attempts.process(plain)
    calls, writes = engine.store.calls, len(engine.store.writes)
    purge(engine)
    engine.clock.forward(1)
    later = engine.task("echo", "t-later")
    engine.attempts.process(later)
    assert len(engine.store.writes) == 2 * writes
    assert engine.store.calls == 2 * calls
    assert engine.record("t-later").status is Status.SUCCEEDED


@pytest.mark.parametrize("fields", [{"queue": "bulk"}, {"task_type": "other"}, {"status": {Status.SCHEDULED}}])
def test_a_task_that_is_not_meant_runs(engine: Engine, fields: dict[str, object]) -> None:
    delivery = engine.task("echo")
    engine.clock.forward(1)
    purge(engine, **fields)
    engine.attempts.process(delivery)
    assert engine.record().status is Status.SUCCEEDED


def test_a_task_of_a_type_without_records_is_dropped_without_a_write(engine: Engine) -> None:
    delivery = engine.task("light")
    engine.clock.forward(1)
    purge(engine)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.store.writes == []


@pytest.mark.parametrize("replayed_first", [True, False])
def test_a_replayed_task_of_a_type_without_records_runs_unless_it_is_purged_after_that(
    engine: Engine, replayed_first: bool
) -> None:
    delivery = engine.task("light")
    task = TaskMessage(
        task_id="t-1", task_type="light", submitted_at=engine.clock.now, queue="default", payload={"n": 0}
    )
    dead = transitions.died(transitions.fresh(task, now=engine.clock.now), reason="too often", now=engine.clock.now)
    engine.clock.forward(1)
    if not replayed_first:
        purge(engine)
        engine.clock.forward(1)
    engine.records.write(transitions.replayed(dead, now=engine.clock.now), if_generation=ABSENT)
    if replayed_first:
        engine.clock.forward(1)
        purge(engine)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.attempts.counts["cancelled" if replayed_first else "succeeded"] == 1
    assert engine.record().status is (Status.CANCELLED if replayed_first else Status.QUEUED)


@pytest.mark.parametrize(("attributes", "waits_as"), [({}, Status.SCHEDULED), ({PUT_OFF: "true"}, Status.QUEUED)])
@pytest.mark.parametrize("cancelled", [Status.SCHEDULED, Status.QUEUED])
def test_a_copy_that_waits_for_a_limit_is_queued_and_one_that_waits_for_its_time_is_scheduled(
    engine: Engine, attributes: dict[str, str], waits_as: Status, cancelled: Status
) -> None:
    delivery = engine.task("light")
    engine.clock.forward(1)
    due = format_time(engine.clock.now + timedelta(minutes=5))
    delivery.attributes = {**delivery.attributes, NOT_BEFORE: due, **attributes}
    purge(engine, status={cancelled})
    engine.attempts.process(delivery)
    assert engine.attempts.counts["cancelled"] == (cancelled is waits_as)


def test_a_task_of_a_type_that_is_gone_is_cancelled_and_no_dead_letter(engine: Engine) -> None:
    delivery = engine.task("long-gone")
    engine.clock.forward(1)
    purge(engine)
    engine.attempts.process(delivery)
    assert engine.record().status is Status.CANCELLED
    assert engine.dead_letters == []


def test_a_limited_type_is_purged_at_once_not_at_its_rate(engine: Engine) -> None:
    deliveries = [engine.task("slow_rate", f"t-{number}") for number in range(20)]
    engine.clock.forward(1)
    purge(engine)
    for delivery in deliveries:
        engine.attempts.process(delivery)
    assert [delivery.ended for delivery in deliveries] == [["ack"]] * 20


def test_another_workers_write_in_between_is_looked_at(engine: Engine) -> None:
    delivery = engine.task("echo")
    engine.clock.forward(1)
    purge(engine)
    other = engine.another("worker-2")

    def first(name: str) -> None:
        engine.store.before_write = lambda _: None
        other.process(replace(delivery, ended=[]))

    engine.store.before_write = first
    engine.attempts.process(delivery)
    assert engine.store.writes == ["tasks/t-1.json,claim"]
    assert delivery.ended == ["ack"]


def test_parked_deliveries_of_one_queue_are_taken_back_alone(engine: Engine) -> None:
    running = engine.task("slow_rate", "t-0")
    engine.attempts.process(running)
    parked = [engine.task("slow_rate", f"t-{number}") for number in (1, 2)]
    parked[1].queue = "bulk"
    for delivery in parked:
        engine.attempts.process(delivery)
    assert engine.attempts.parked_of("default") == [parked[0]]
    assert engine.attempts.parked() == [parked[1]]


def test_a_parked_task_that_is_purged_leaves_its_room_to_the_next(engine: Engine) -> None:
    handlers.go_on.clear()
    running = threading.Thread(target=engine.attempts.process, args=(engine.task("narrow", "t-0"),))
    running.start()
    until(lambda: handlers.runs == ["t-0"], "the first one runs")
    parked = engine.task("narrow", "t-1")
    engine.attempts.process(parked)
    engine.clock.forward(1)
    purge(engine)
    handlers.go_on.set()
    running.join(10)
    assert engine.resumed == [(parked, True)]
    engine.attempts.process(parked, admitted=True)
    assert parked.ended == ["ack"]
    engine.clock.forward(1)
    engine.attempts.process(engine.task("narrow", "t-2"))
    assert handlers.runs == ["t-0", "t-2"]
