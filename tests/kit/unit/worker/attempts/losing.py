"""What happened to a task before a test begins."""

from __future__ import annotations

from poolhouse.pipeline.messaging.message import TaskMessage, decode
from poolhouse.pipeline.tasks.record_store import Stored
from tests.kit.unit.worker.conftest import Engine, FakeDelivery


def message_of(delivery: FakeDelivery, engine: Engine) -> TaskMessage:
    """The message that a delivery carries."""
    return decode(
        delivery.data,
        {},
        queue="default",
        message_id="m-1",
        published_at=engine.clock.now,
        task_ids=engine.task_ids,
    )


def lose_all_attempts(engine: Engine, task: FakeDelivery) -> None:
    """Claim the task as often as it may be tried, each time by a worker that dies."""
    stored: Stored | None = None
    for number in range(5):
        stored = engine.claim(message_of(task, engine), stored, owner=str(number))
        engine.clock.forward(21)
