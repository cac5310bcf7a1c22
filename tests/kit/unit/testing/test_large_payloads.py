"""Large payloads through the whole pipeline: whatever fails, they arrive, and none is left behind."""

from __future__ import annotations

from poolhouse.pipeline import names
from poolhouse.testing.pipeline import Pipeline
from tests.kit.unit.testing import handlers


def left(pipeline: Pipeline) -> tuple[str, ...]:
    return tuple(info.name for info in pipeline.store.list(names.PAYLOADS).objects)


def test_one_that_no_message_could_hold_arrives_and_is_gone_with_its_task(pipeline: Pipeline) -> None:
    task = pipeline.submit(handlers.count_letters, text="x" * 12_000_000)
    assert len(left(pipeline)) == 1
    pipeline.run_until_idle()
    assert (task.result(), left(pipeline)) == (12_000_000, ())


def test_at_every_crash_point_the_task_and_its_follow_up_get_theirs_and_leave_nothing(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            parent = pipeline.submit(handlers.doubled, text="x" * 2000)
            pipeline.run_until_idle()
            [child] = pipeline.follow_ups(parent)
            assert child.result() == 4000
            assert left(pipeline) == ()
