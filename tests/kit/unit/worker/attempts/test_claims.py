"""Which delivery may run a task: duplicates, dead workers, lost leases, limits."""

from __future__ import annotations

import threading

import pytest

from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import Outcome, Status
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.attempts.losing import lose_all_attempts, message_of
from tests.kit.unit.worker.conftest import Engine
from tests.kit.waiting import until


@pytest.mark.parametrize(("attempt", "costs"), [(1, 3), (2, 1)])
def test_a_duplicate_costs_a_read_and_where_none_was_expected_the_claim_that_fails_and_a_look_whose_it_is(
    engine: Engine, attempt: int, costs: int
) -> None:
    engine.attempts.process(engine.task("echo", n=3))
    calls = engine.store.calls
    engine.another("worker-2").process(engine.task("echo", n=3, attempt=attempt))
    assert engine.store.calls - calls == costs
    assert len(engine.store.writes) == 2


def test_a_duplicate_of_a_finished_task_runs_nothing(engine: Engine) -> None:
    engine.attempts.process(engine.task("echo", n=3))
    duplicate = engine.task("echo", n=3, attempt=2)
    engine.another("worker-2").process(duplicate)
    assert duplicate.ended == ["ack"]
    assert handlers.runs == ["t-1"]


def test_a_delivery_of_a_running_task_waits_for_the_lease(engine: Engine) -> None:
    first = threading.Thread(target=engine.attempts.process, args=(engine.task("wait"),))
    first.start()
    until(lambda: handlers.runs)
    second = engine.task("wait", attempt=2)
    engine.another("worker-2").process(second)
    handlers.go_on.set()
    first.join()
    assert second.ended == [("defer", pytest.approx(engine.settings.topology.default_queue.ack_deadline_s))]
    assert handlers.runs == ["t-1"]


def test_a_worker_that_died_loses_the_task_to_the_next_one_once_its_lease_is_over(engine: Engine) -> None:
    task = engine.task("echo", n=1)
    dead = transitions.claim(
        None,
        message_of(task, engine),
        owner="dead",
        worker="worker-0",
        now=engine.clock.now,
        lease_s=20,
        max_attempts=5,
    )
    assert isinstance(dead, transitions.Run)
    engine.records.write(dead.record, if_generation=0)
    engine.clock.forward(21)
    engine.attempts.process(task)
    assert [attempt.outcome for attempt in engine.record().attempts] == [Outcome.LOST, Outcome.SUCCEEDED]
    assert [attempt.worker for attempt in engine.record().attempts] == ["worker-0", "worker-1"]


def test_a_worker_that_lost_the_lease_leaves_the_record_alone(engine: Engine) -> None:
    task = engine.task("wait")
    thread = threading.Thread(target=engine.attempts.process, args=(task,))
    thread.start()
    until(lambda: handlers.runs)
    engine.clock.forward(21)  # the first worker slept through its lease
    engine.claim(message_of(task, engine), engine.records.read("t-1"), owner="2")
    handlers.go_on.set()
    thread.join(5)
    assert task.ended == [("defer", 20)]
    assert engine.record().owner == "2"
    assert engine.record().result is None


def test_a_task_over_its_types_limit_is_parked_without_a_thread(engine: Engine) -> None:
    thread = threading.Thread(target=engine.attempts.process, args=(engine.task("narrow", "t-1"),))
    thread.start()
    until(lambda: handlers.runs)
    second = engine.task("narrow", "t-2")
    engine.attempts.process(second)
    assert (second.ended, engine.resumed) == ([], [])
    assert engine.attempts.waiting  # a drain is not at its end
    handlers.go_on.set()
    thread.join(5)
    assert engine.resumed == [(second, True)]
    assert not engine.attempts.waiting
    engine.attempts.process(second, admitted=True)
    assert second.ended == ["ack"]


def test_a_task_that_kills_its_workers_dies_after_its_attempts(engine: Engine) -> None:
    task = engine.task("echo")
    lose_all_attempts(engine, task)
    last = engine.task("echo", attempt=6)
    engine.attempts.process(last)
    assert last.ended == ["ack"]
    assert engine.record().status is Status.DEAD
    assert engine.record().reason == "all 5 attempts used up; the last one: the worker was lost"
