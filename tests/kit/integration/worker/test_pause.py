"""Worker processes and a queue that is paused, resumed and purged."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.control.state import CancelOrder, QueueControl
from poolhouse.pipeline.tasks.records import Status
from tests.kit.integration.worker.test_worker import Pipeline, pipeline

__all__ = ["pipeline"]


def pause(pipeline: Pipeline, queue: str) -> None:
    ControlStore(pipeline.store).change(lambda control: control.pause(queue, now=datetime.now(UTC)))


def resume(pipeline: Pipeline, queue: str) -> None:
    ControlStore(pipeline.store).change(lambda control: control.resume(queue))


def times_logged(pipeline: Pipeline, text: str) -> int:
    return pipeline.log.read_text().count(text)


def test_a_pause_lets_what_runs_go_on_gives_back_what_waits_and_leaves_other_queues_alone(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    workers = [pipeline.worker("run") for _ in range(2)]
    gate = tmp_path / "gate"
    held: list[str] = []

    def running() -> list[str]:
        records = {task_id: pipeline.record(task_id) for task_id in held}
        return [task_id for task_id, record in records.items() if record and record.status is Status.RUNNING]

    def both_run_four() -> bool:
        """Whether all lanes are taken; one more task if not: an emulator may give one worker as many as it likes."""
        if len(running()) == 8:
            return True
        held.append(pipeline.submit("hold", queue="urgent", until=str(gate)))
        return False

    pipeline.until(both_run_four, 60)
    held += [pipeline.submit("hold", queue="urgent", until=str(gate)) for _ in range(16)]
    began_by_now = datetime.now(UTC)
    began = time.monotonic()
    pause(pipeline, "urgent")
    pipeline.until(lambda: times_logged(pipeline, "queue paused") == 2, 10)
    assert time.monotonic() - began < 3  # promised: 2, on a machine that does nothing else
    in_hand = running()
    behind = [task_id for task_id in held if task_id not in in_hand]
    assert len(in_hand) == 8
    other = pipeline.submit("add", queue="default", a=1, b=2)
    assert pipeline.ended(other).result == 3
    pipeline.until(lambda: datetime.now(UTC) > began_by_now + timedelta(seconds=12), 30)  # longer than the lease
    gate.touch()
    for task_id in in_hand:
        record = pipeline.ended(task_id)
        assert (record.status, len(record.attempts)) == (Status.SUCCEEDED, 1)
    assert len(behind) >= 16
    assert [pipeline.record(task_id) for task_id in behind] == [None] * len(behind)
    resume(pipeline, "urgent")
    assert {pipeline.ended(task_id).status for task_id in behind} == {Status.SUCCEEDED}
    assert all(len(pipeline.ended(task_id).attempts) == 1 for task_id in behind)
    assert all(worker.poll() is None for worker in workers)


def test_a_worker_that_starts_while_a_queue_is_paused_pulls_nothing_of_it_and_stops_in_order(
    pipeline: Pipeline,
) -> None:
    pause(pipeline, "urgent")
    waiting = pipeline.submit("add", queue="urgent", a=1, b=1)
    drained = pipeline.worker("drain", "--linger", "1", ready=False)
    assert drained.wait(60) == 0
    assert pipeline.record(waiting) is None
    resume(pipeline, "urgent")
    assert pipeline.worker("drain", "--linger", "1", ready=False).wait(60) == 0
    assert pipeline.ended(waiting, 1).result == 2


def test_a_worker_stops_in_order_while_a_paused_task_still_runs(pipeline: Pipeline) -> None:
    worker = pipeline.worker("run", WORKER_GRACE_S="20")
    task_id = pipeline.submit("stare", queue="urgent", seconds=4)
    pipeline.running(task_id)
    pause(pipeline, "urgent")
    pipeline.until(lambda: times_logged(pipeline, "queue paused") == 1, 10)
    worker.terminate()
    assert worker.wait(30) == 0
    assert pipeline.ended(task_id, 1).status is Status.SUCCEEDED


def test_a_purged_backlog_is_cancelled_by_the_workers(pipeline: Pipeline) -> None:
    ids = [pipeline.submit("add", a=number, b=1) for number in range(50)]
    now = datetime.now(UTC)

    def purge(control: QueueControl) -> QueueControl:
        order = CancelOrder(
            at=now, queue="urgent", before=now, status=frozenset({Status.QUEUED}), reason="queue urgent was purged"
        )
        return control.order(order, keep=now - datetime(2020, 1, 1, tzinfo=UTC))

    ControlStore(pipeline.store).change(purge)
    later = pipeline.submit("add", a=1, b=1)
    assert pipeline.worker("drain", "--linger", "1", ready=False).wait(60) == 0
    records = [pipeline.ended(task_id, 1) for task_id in ids]
    assert {(record.status, record.reason) for record in records} == {(Status.CANCELLED, "queue urgent was purged")}
    assert pipeline.ended(later, 1).result == 2
