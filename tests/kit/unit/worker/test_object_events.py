"""What a worker makes of events of the bucket: tasks here, tasks elsewhere, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.hooks import Hook, Hooks, TaskInfo
from poolhouse.pipeline.messaging.message import LINKS
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from tests.kit.unit.pipeline.test_object_events import event
from tests.kit.unit.worker.conftest import Engine, FakeDelivery

PIPELINE = """
[queues.default]
[queues.bulk]

[triggers.here]
prefix = "uploads/in/"
suffix = ".txt"
task_type = "upload"
field = "name"

[triggers.later]
prefix = "uploads/big/"
task_type = "upload"
queue = "bulk"
"""


@pytest.fixture
def engine(engine: Engine, tmp_path: Path) -> Engine:
    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE)
    engine.settings = Settings(google_cloud_project="test-project", bucket_name="test-bucket", pipeline_file=str(file))
    engine.attempts = engine.another("worker-1")
    return engine


def told(engine: Engine, name: str, **changes: str) -> FakeDelivery:
    attributes = event(name, bucketId=engine.settings.bucket_name, **changes)
    return FakeDelivery(data=b'{"kind":"storage#object"}', attributes=attributes, published_at=engine.clock.now)


def records(engine: Engine) -> list[TaskRecord]:
    return [engine.record(summary.task_id) for summary in engine.records.summaries()]


def test_a_file_starts_its_task_in_place_and_costs_no_more_than_a_task(engine: Engine) -> None:
    delivery = told(engine, "uploads/in/a.txt")
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    (record,) = records(engine)
    assert record.task_type == "upload"
    assert record.payload == {"name": "in/a.txt"}
    assert record.status == Status.SUCCEEDED
    assert record.trigger == "here"
    assert len(engine.store.writes) == 2
    assert engine.topics.published == []


def test_the_same_version_told_twice_runs_once_and_another_runs_again(engine: Engine) -> None:
    for generation in ("1772366400000000", "1772366400000000", "1772366400000001"):
        delivery = told(engine, "uploads/in/a.txt", objectGeneration=generation)
        engine.attempts.process(delivery)
        assert delivery.ended == ["ack"]
    found = records(engine)
    assert len(found) == 2
    assert [len(record.attempts) for record in found] == [1, 1]


def test_a_task_of_another_queue_is_sent_there(engine: Engine) -> None:
    delivery = told(engine, "uploads/big/a.txt")
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    (sent,) = engine.topics.published
    body = json.loads(sent.message.data)
    assert (body["task_type"], body["filename"], sent.message.attributes["queue"]) == ("upload", "big/a.txt", "bulk")
    assert body[LINKS] == {"trigger": "later"}
    assert engine.store.writes == []


def test_an_event_comes_again_where_its_queue_does_not_take_the_task(engine: Engine) -> None:
    engine.topics.down = True
    delivery = told(engine, "uploads/big/a.txt")
    engine.attempts.process(delivery)
    assert delivery.ended == ["nack"]


@pytest.mark.parametrize("name", ["uploads/in/a.csv", "uploads/elsewhere/a.txt", "processed/in/a.txt"])
def test_an_object_that_no_trigger_takes_is_nothing(engine: Engine, name: str) -> None:
    delivery = told(engine, name)
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    assert engine.topics.published == []
    assert engine.store.writes == []


def test_an_event_of_another_bucket_is_a_dead_letter_that_says_so(engine: Engine) -> None:
    attributes = event("uploads/in/a.txt", bucketId="a-strangers")
    delivery = FakeDelivery(data=b"", attributes=attributes, published_at=engine.clock.now)
    engine.attempts.process(delivery)
    (sent,) = engine.topics.published
    assert "the bucket 'a-strangers'" in sent.message.attributes["dead_letter_reason"]


def test_a_file_whose_name_the_handler_refuses_is_a_dead_letter_of_its_task(engine: Engine) -> None:
    delivery = told(engine, "uploads/in/../x.txt")
    engine.attempts.process(delivery)
    assert delivery.ended == ["ack"]
    (record,) = records(engine)
    assert (record.task_type, record.status) == ("upload", Status.FAILED)
    assert ".. segment" in (record.reason or "")


def test_an_event_that_pubsub_gave_up_is_kept_as_its_task_and_ends_the_record(engine: Engine) -> None:
    keeper = DeadLetterKeeper(engine.services())
    delivery = told(engine, "uploads/in/a.txt", CloudPubSubDeadLetterSourceDeliveryCount="15")
    keeper.process(delivery)
    assert delivery.ended == ["ack"]
    (letter,) = engine.store.names(names.DEAD_LETTERS)
    kept = json.loads(engine.store.get(letter)[0])
    assert kept["task_type"] == "upload"
    assert json.loads(kept["data"])["name"] == "in/a.txt"
    (record,) = records(engine)
    assert (record.status, record.trigger) == (Status.DEAD, "here")


def test_an_event_that_pubsub_gave_up_and_that_is_for_elsewhere_is_sent_there(engine: Engine) -> None:
    keeper = DeadLetterKeeper(engine.services())
    delivery = told(engine, "uploads/big/a.txt", CloudPubSubDeadLetterSourceDeliveryCount="15")
    keeper.process(delivery)
    assert delivery.ended == ["ack"]
    assert [sent.message.attributes["queue"] for sent in engine.topics.published] == ["bulk"]
    assert engine.store.names(names.DEAD_LETTERS) == ()


def test_an_event_that_no_thread_has_taken_up_goes_back_at_once(engine: Engine) -> None:
    delivery = told(engine, "uploads/in/a.txt")
    engine.attempts.return_unstarted(delivery)
    ((how, task_id),) = delivery.ended
    assert how == "hand over"
    copy = told(engine, "uploads/in/a.txt", task_id=task_id)
    engine.attempts.process(copy)
    assert copy.ended == ["ack"]
    assert [record.status for record in records(engine)] == [Status.SUCCEEDED]


def test_a_task_of_a_fair_queue_takes_its_tenants_turn(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE.replace("[queues.default]", '[queues.default]\nfair_by = "name"'))
    engine.settings = Settings(google_cloud_project="test-project", bucket_name="test-bucket", pipeline_file=str(file))
    delivery = told(engine, "uploads/in/a.txt")
    engine.another("worker-2").process(delivery)
    assert delivery.ended == ["ack"]
    assert [json.loads(sent.message.data)["name"] for sent in engine.topics.published] == ["in/a.txt"]
    assert engine.store.writes == []


def test_hooks_hear_of_a_task_that_a_file_starts(engine: Engine) -> None:
    heard: list[str] = []

    class Listening(Hook):
        def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
            heard.append(task.task_type)

    engine.hooks = Hooks((Listening(),))
    engine.another("worker-2").process(told(engine, "uploads/in/a.txt"))
    engine.another("worker-2").process(told(engine, "uploads/big/b.txt"))
    assert heard == ["upload", "upload"]
