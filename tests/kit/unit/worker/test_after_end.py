"""What follows the end of a task is published however it ends, before the ack, and under the same ids each time."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import attributes_for
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from tests.kit.unit.worker.conftest import Engine, FakeDelivery


@pytest.fixture
def ruled(engine: Engine) -> Engine:
    """An engine where `echo` follows each task."""

    def rule(record: TaskRecord) -> Iterable[FollowUp]:
        task_id = engine.task_ids.derive(f"after {record.task_id}", record.submitted_at)
        payload = {"n": len(record.status)}
        return [FollowUp(task_id=task_id, task_type="echo", queue="default", payload=payload)]

    engine.after_end = (rule,)
    engine.attempts = engine.another("worker-1")
    return engine


def following(engine: Engine) -> list[str]:
    """Ids of the tasks published to the queue."""
    return [
        published.message.attributes["task_id"]
        for published in engine.topics.published
        if published.topic == "poolhouse-default"
    ]


@pytest.mark.parametrize(
    ("task_type", "status"), [("echo", Status.SUCCEEDED), ("reject", Status.FAILED), ("once", Status.DEAD)]
)
def test_a_task_that_ends_is_followed_and_a_duplicate_names_the_same_task(
    ruled: Engine, task_type: str, status: Status
) -> None:
    ruled.attempts.process(ruled.task(task_type))
    assert ruled.record().status is status
    ruled.attempts.process(ruled.task(task_type, attempt=2))
    first, second = following(ruled)
    assert first == second


def test_a_task_cancelled_before_it_started_is_followed(ruled: Engine) -> None:
    task = ruled.task("echo")
    unknown = TaskRecord(
        task_id="t-1",
        task_type="",
        queue="",
        status=Status.QUEUED,
        submitted_at=ruled.clock.now,
        updated_at=ruled.clock.now,
    )
    ruled.records.write(transitions.cancelled(unknown, now=ruled.clock.now), if_generation=0)
    ruled.attempts.process(task)
    assert (task.ended, len(following(ruled))) == (["ack"], 1)


def test_nothing_is_acked_before_what_follows_is_published(ruled: Engine) -> None:
    ruled.topics.down = True
    ruled.stopping.set()
    task = ruled.task("echo")
    ruled.attempts.process(task)
    assert task.ended == ["nack"]
    ruled.topics.down = False
    ruled.attempts.process(again := ruled.task("echo", attempt=2))
    assert (again.ended, len(following(ruled))) == (["ack"], 1)


def test_a_task_that_pubsub_gave_up_is_followed(ruled: Engine) -> None:
    task = ruled.task("echo")
    attributes = attributes_for(
        task.attributes, task_id="t-1", reason="lost", message_id="m-1", published_at=task.published_at
    )
    letter = FakeDelivery(data=task.data, attributes=attributes, published_at=ruled.clock.now)
    DeadLetterKeeper(ruled.services()).process(letter)
    assert ruled.record().status is Status.DEAD
    assert (letter.ended, len(following(ruled))) == (["ack"], 1)
