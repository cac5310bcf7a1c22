"""Unique tasks that a handler submits."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import records, transitions
from poolhouse.pipeline.tasks.links import Link, Links
from poolhouse.pipeline.tasks.records import Status
from poolhouse.worker import Payload, TaskContext, Unique, task
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine, FakeDelivery


def published(engine: Engine) -> list[str]:
    return [published.message.attributes["task_id"] for published in engine.topics.published]


def test_of_two_that_share_a_key_one_is_submitted_and_the_others_record_names_it(engine: Engine) -> None:
    engine.attempts.process(engine.task("unique_parent", "p-1"))
    engine.attempts.process(engine.task("unique_parent", "p-2"))
    first, replaced = engine.record("p-1").result
    second, last = engine.record("p-2").result
    assert published(engine) == [first, replaced, last]
    assert (engine.record(first).status, engine.record(second).status) == (Status.QUEUED, Status.CANCELLED)
    assert engine.record(second).reason == f"not submitted: task {first} has its key and is queued"
    assert (engine.record(replaced).status, engine.record(replaced).reason) == (
        Status.CANCELLED,
        f"replaced by {last}",
    )
    assert engine.record(last).status is Status.SCHEDULED


def test_a_duplicate_of_the_parent_submits_the_same_tasks_and_writes_nothing(engine: Engine) -> None:
    engine.attempts.process(engine.task("unique_parent", "p-1"))
    writes = list(engine.store.writes)
    engine.attempts.process(engine.task("unique_parent", "p-1", attempt=2))
    assert engine.store.writes == writes
    assert len(set(published(engine))) == 2
    assert sum(name.startswith(names.UNIQUE) for name in writes) == 2


def test_a_redelivered_unique_task_runs_once_and_costs_two_writes_in_the_worker(engine: Engine) -> None:
    for attempt in (1, 2):
        delivery = engine.task("one_a_number", attempt=attempt, n=5)
        engine.attempts.process(delivery)
        assert delivery.ended == ["ack"]
    assert handlers.runs == ["t-1"]
    assert len(engine.store.writes) == 2


def test_a_replaced_tasks_message_is_acked_without_a_run(engine: Engine) -> None:
    engine.attempts.process(engine.task("unique_parent", "p-1"))
    engine.attempts.process(engine.task("unique_parent", "p-2"))
    replaced = engine.record("p-1").result[1]
    [message] = [each.message for each in engine.topics.published if each.message.attributes["task_id"] == replaced]
    delivery = FakeDelivery(message.data, message.attributes, engine.clock.now)
    engine.attempts.process(delivery)
    assert (delivery.ended, handlers.runs) == (["ack"], [])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"unique": ("customer",)}, "unique must be a Unique"),
        ({"unique": Unique(by=("customer",))}, "the payload has no field customer"),
        ({"unique": Unique(), "record": False}, "record=False keeps none"),
    ],
)
def test_a_rule_that_can_not_be_is_an_error_at_import(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:

        @task("wrong", **options)
        def wrong(payload: Payload, ctx: TaskContext) -> None: ...

    assert Path(__file__).stem in str(caught.value)


def test_a_follow_up_whose_model_has_changed_meanwhile_is_published_and_fails_with_that(engine: Engine) -> None:
    now = engine.clock.now
    parent = engine.task("unique_parent", "p-1")
    message = TaskMessage(task_id="p-1", task_type="unique_parent", submitted_at=now, queue="default", payload={})
    run = transitions.claim(None, message, owner="o", worker="w", now=now, lease_s=20, max_attempts=5)
    assert isinstance(run, transitions.Run)
    old = records.FollowUp(task_id="f-1", task_type="one_a_number", queue="default", payload={"n": "many"})
    engine.records.write(transitions.succeeded(run.record, now=now, follow_ups=(old,)), if_generation=0)
    parent.attempt = 2
    engine.attempts.process(parent)
    assert (parent.ended, published(engine)) == (["ack"], ["f-1"])


def test_a_unique_task_of_a_chain_is_handed_a_payload_larger_than_a_message_may_be(engine: Engine) -> None:
    now = engine.clock.now
    link = Link(task_type="one_text", queue="default", payload={"n": 1}, into="text")
    parent = TaskMessage(
        task_id="p-1",
        task_type="big",
        submitted_at=now,
        queue="default",
        payload={"n": 1_100_000},
        links=Links(then=(link,)),
    )
    engine.attempts.process(FakeDelivery(parent.data(), parent.attributes(), now))
    [message] = [each.message for each in engine.topics.published]
    following = FakeDelivery(message.data, message.attributes, now)
    engine.attempts.process(following)
    assert following.ended == ["ack"]
    assert engine.record(message.attributes["task_id"]).result == 1_100_000
