"""Tasks that were lost with their worker, and the ones beside them."""

from __future__ import annotations

import threading
from typing import Any

from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import Outcome
from poolhouse.pipeline.tasks.transitions import Run
from poolhouse.worker.runtime.quarantine import Quarantine
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine


def test_one_suspect_runs_at_a_time_and_the_next_follows_it() -> None:
    resumed: list[Any] = []
    quarantine = Quarantine(resumed.append)
    first, second, third = "first", "second", "third"  # any object will do
    assert quarantine.admit(first)  # type: ignore[arg-type]
    assert quarantine.admit(first)  # type: ignore[arg-type]
    assert not quarantine.admit(second)  # type: ignore[arg-type]
    assert not quarantine.admit(third)  # type: ignore[arg-type]
    quarantine.leave(third)  # type: ignore[arg-type]
    assert (resumed, quarantine.waiting) == ([], True)
    quarantine.leave(first)  # type: ignore[arg-type]
    assert resumed == ["second"]
    assert quarantine.close() == ["third"]
    assert quarantine.admit(second)  # type: ignore[arg-type]


def test_a_task_that_was_lost_waits_for_another_that_was_lost_and_loses_no_attempt_to_it(engine: Engine) -> None:
    for task_id in ("t-1", "t-2"):  # claimed by a worker that died then: nobody renews the leases
        message = TaskMessage(
            task_id=task_id, task_type="wait", submitted_at=engine.clock.now, queue="default", payload={}
        )
        claimed = transitions.claim(
            None, message, owner=task_id, worker="worker-1", now=engine.clock.now, lease_s=10, max_attempts=5
        )
        assert isinstance(claimed, Run)
        engine.records.write(claimed.record, if_generation=ABSENT, writer=task_id)
    engine.clock.forward(60)
    handlers.go_on.clear()
    other = engine.another("worker-2")
    guilty, neighbour = engine.task("wait", "t-1", attempt=2), engine.task("wait", "t-2", attempt=2)
    running = threading.Thread(target=other.process, args=(guilty,), daemon=True)
    running.start()
    while "t-1" not in handlers.runs:
        running.join(0.01)
    other.process(neighbour)
    assert (neighbour.ended, other.waiting) == ([], True)
    assert [attempt.outcome for attempt in engine.record("t-2").attempts] == [Outcome.LOST]
    handlers.go_on.set()
    running.join(20)
    assert engine.resumed == [(neighbour, False)]
    other.process(neighbour)
    assert [attempt.outcome for attempt in engine.record("t-2").attempts] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_a_resumed_delivery_that_ends_without_an_attempt_lets_the_next_one_go_on(engine: Engine) -> None:
    resumed: list[object] = []
    quarantine = Quarantine(resumed.append)
    first, second, third = (engine.task("wait", task_id, attempt=2) for task_id in ("t-1", "t-2", "t-3"))
    assert [quarantine.admit(each) for each in (first, second, third)] == [True, False, False]  # type: ignore[arg-type]
    quarantine.leave(first)  # type: ignore[arg-type]
    # Its task had been taken over by another worker.
    quarantine.leave(second)  # type: ignore[arg-type]
    assert resumed == [second, third]
