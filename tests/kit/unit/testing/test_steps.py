"""Steps at every crash point: what is recorded is not run again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.testing.pipeline import Pipeline
from poolhouse.testing.tasks import Task
from tests.kit.unit.testing import handlers
from tests.kit.unit.testing.handlers import ledger

RESULT = ["first of Ada", "second of Ada"]


def a_second_goes_by(pipeline: Pipeline, task: Task[list[str]]) -> Callable[[], None]:
    """What happens in each step: none that runs is recorded already, and its end is due to be written."""

    def goes_by() -> None:
        stored = RecordStore(pipeline.store).read(task.task_id)
        assert stored is not None
        assert ledger[-1] not in {step.name for step in stored.record.steps}
        pipeline.clock.advance("2 s")

    return goes_by


def test_at_every_crash_point_a_step_that_was_recorded_runs_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: dict[str, list[str]] = {}
    for turn in pipeline.crash_points():
        with turn, monkeypatch.context() as patch:
            ledger.clear()
            task = pipeline.submit(handlers.two_steps, name="Ada")
            patch.setattr(handlers, "during", [a_second_goes_by(pipeline, task)])
            pipeline.run_until_idle()
            assert task.result() == RESULT
            if turn.point is not None and turn.point.operation == "step":
                runs[str(turn.point)] = list(ledger)
    assert runs == {
        "the worker dies before step 'first' of two_steps": ["first", "first", "second"],
        "the worker dies after step 'first' of two_steps": ["first", "second"],
        "the worker dies before step 'second' of two_steps": ["first", "second", "second"],
        "the worker dies after step 'second' of two_steps": ["first", "second"],
    }


def test_async_steps_come_out_the_same_at_every_point(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            task = pipeline.submit(handlers.two_steps_async, name="Ada")
            pipeline.run_until_idle()
            assert task.result() == RESULT
