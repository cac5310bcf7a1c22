"""Follow-ups that can't be published as they are: into a queue that is gone, or refused by Pub/Sub. None is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import MessageRefused
from poolhouse.pipeline.hooks import AttemptEnd, AttemptInfo, Hook, Hooks, TaskInfo
from poolhouse.pipeline.messaging.pubsub_transport import Message
from poolhouse.pipeline.tasks.dead_letter_attributes import attributes_for
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord
from poolhouse.testing.doubles import MemoryTopics
from poolhouse.worker.plans import PlanError, follow_ups
from poolhouse.worker.registry import load
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from tests.kit.unit.worker.conftest import Engine, FakeDelivery


class RefusingTopics(MemoryTopics):
    """Topics that never take the task `f-1`."""

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        if any(message.attributes["task_id"] == "f-1" for message in messages):
            refused: Future[Sequence[str]] = Future()
            refused.set_exception(MessageRefused("Pub/Sub refuses the message: it is too large"))
            return refused
        return super().publish(topic, messages, timeout_s=timeout_s)


class Outcomes(Hook):
    """What the hooks hear."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        self.heard.append(end.outcome)

    def on_death(self, task: TaskInfo, reason: str) -> None:
        self.heard.append(f"{task.task_id} is dead: {reason}")


REASON = "it could not be submitted: Pub/Sub refuses the message: it is too large"


def ruled(engine: Engine, *, queue: str = "default", refusing: bool = False) -> Outcomes:
    """Let `t-1` be followed by `f-1`, and that by `f-2`; returns what the hooks hear."""

    def rule(record: TaskRecord) -> Iterable[FollowUp]:
        task_id = {"t-1": "f-1", "f-1": "f-2"}.get(record.task_id)
        return [FollowUp(task_id=task_id, task_type="echo", queue=queue, payload={"n": 1})] if task_id else []

    outcomes = Outcomes()
    engine.topics = RefusingTopics() if refusing else MemoryTopics()
    engine.hooks = Hooks([outcomes])
    engine.after_end = (rule,)
    engine.attempts = engine.another("worker-1")
    return outcomes


def given_up(engine: Engine) -> FakeDelivery:
    """The message of `t-1` as it comes to the dead letters."""
    task = engine.task("echo")
    attributes = attributes_for(
        task.attributes, task_id="t-1", reason="lost", message_id="m-1", published_at=task.published_at
    )
    return FakeDelivery(data=task.data, attributes=attributes, published_at=engine.clock.now)


def published(engine: Engine) -> list[tuple[str, str]]:
    return [(each.topic, each.message.attributes["task_id"]) for each in engine.topics.published]


def test_one_whose_queue_is_gone_goes_to_the_queue_of_its_type(engine: Engine) -> None:
    ruled(engine, queue="gone")
    engine.attempts.process(delivery := engine.task("echo"))
    assert (delivery.ended, published(engine)) == (["ack"], [("poolhouse-default", "f-1")])
    assert engine.topics.published[0].message.attributes["queue"] == "default"


def test_the_same_behind_a_dead_letter(engine: Engine) -> None:
    ruled(engine, queue="gone")
    DeadLetterKeeper(engine.services()).process(letter := given_up(engine))
    assert (letter.ended, published(engine)) == (["ack"], [("poolhouse-default", "f-1")])


def test_one_that_is_refused_is_dead_and_its_parent_has_succeeded(engine: Engine) -> None:
    outcomes = ruled(engine, refusing=True)
    engine.attempts.process(delivery := engine.task("echo"))
    assert delivery.ended == ["ack"]
    assert engine.record().status is Status.SUCCEEDED
    assert engine.attempts.counts["succeeded"] == 1
    assert outcomes.heard == [f"f-1 is dead: {REASON}", "succeeded"]
    assert (engine.record("f-1").status, engine.record("f-1").reason) == (Status.DEAD, REASON)
    assert published(engine) == [("poolhouse-default", "f-2")]
    box = DeadLetterStore(engine.store, queues=("default",), task_ids=engine.task_ids)
    assert (box.get("f-1").reason, box.get("f-1").task_type) == (REASON, "echo")
    writes = list(engine.store.writes)
    engine.attempts.process(again := engine.task("echo", attempt=2))
    assert (again.ended, [name for name in engine.store.writes[len(writes) :] if "t-1" not in name]) == (
        ["ack"],
        [],
    )


def test_the_same_behind_a_dead_letter_once(engine: Engine) -> None:
    ruled(engine, refusing=True)
    DeadLetterKeeper(engine.services()).process(letter := given_up(engine))
    assert letter.ended == ["ack"]
    assert engine.record("f-1").reason == REASON
    assert engine.store.names(names.dead_letter("default", "f-1"))


def test_a_mistake_behind_the_end_does_not_make_a_success_a_failure(engine: Engine) -> None:
    outcomes = ruled(engine)

    def broken(record: TaskRecord) -> Iterable[FollowUp]:
        raise ValueError("a mistake")

    engine.after_end = (broken,)
    engine.attempts = engine.another("worker-1")
    engine.attempts.process(delivery := engine.task("echo"))
    assert (delivery.ended, engine.record().status) == (["nack"], Status.SUCCEEDED)
    assert outcomes.heard == ["succeeded"]


@pytest.mark.parametrize("field", ["then", "on_failure"])
def test_what_follows_must_fit_into_a_message(engine: Engine, field: str) -> None:
    link = {"task_type": "length", "payload": {"text": "x" * 1_000_001}}
    body: dict[str, Any] = {field: [link] if field == "then" else link}
    with pytest.raises(PlanError, match=f"^{field}: what follows has 1,000,.* bytes as JSON, and may have 1,000,000"):
        follow_ups(body, load(["tests.kit.unit.worker.handlers"]), engine.settings.topology)
