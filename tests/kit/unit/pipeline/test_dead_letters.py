"""Dead letters: kept once, replayed with their history, discarded for good."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poolhouse.pipeline import names, records
from poolhouse.pipeline.dead_letters import REASON, DeadLetterBox, Kept, attributes_for
from poolhouse.pipeline.errors import Conflict, QueueUnavailable, TaskNotFound
from poolhouse.pipeline.message import TaskMessage
from poolhouse.pipeline.publisher import Publisher
from poolhouse.pipeline.record_store import RecordStore
from poolhouse.pipeline.records import Status
from poolhouse.pipeline.settings import Settings
from poolhouse.pipeline.task_ids import TaskIds
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.records = RecordStore(self.store)
        self.topics = MemoryTopics()
        settings = Settings(
            google_cloud_project="p-12345",
            bucket_name="bucket",
            pipeline_file=str(Path(__file__).parents[4] / "pipeline.toml"),
        )
        self.publisher = Publisher(settings, topics=self.topics)
        self.box = DeadLetterBox(self.store, queues=("urgent", "default", "bulk"), task_ids=TaskIds(b"k" * 32))
        self.task = TaskMessage(
            task_id="t-1", task_type="echo", submitted_at=self.clock.now, queue="default", payload={"n": 1}
        )

    def die(self, task_id: str = "t-1") -> None:
        run = records.claim(None, self.task, owner="o", worker="w", now=self.clock.now, lease_s=20, max_attempts=1)
        assert isinstance(run, records.Run)
        dead = records.died(run.record, reason="it broke", now=self.clock.now)
        self.records.write(dead, if_generation=0)

    def keep(self, data: bytes | None = None, reason: str = "it broke", **forwarded: str) -> bool:
        attributes = attributes_for(
            self.task.attributes() if data is None else {},
            task_id="t-1",
            reason=reason,
            message_id="5",
            published_at=self.clock.now,
        )
        verdict = self.box.keep(
            "default", self.task.data() if data is None else data, attributes, message_id="77", now=self.clock.now
        )
        return verdict.kept is Kept.KEPT

    def status(self) -> Status:
        stored = self.records.read("t-1")
        assert stored is not None
        return stored.record.status


@pytest.fixture
def world() -> World:
    return World()


def test_a_dead_letter_has_the_reason_the_attempts_and_the_original_message(world: World) -> None:
    world.die()
    assert world.keep()
    letter = world.box.get("t-1")
    assert (letter.reason, letter.message_id, letter.queue) == ("it broke", "5", "default")
    assert letter.body() == world.task.data()
    assert letter.attributes == world.task.attributes()
    assert [attempt.worker for attempt in letter.attempts] == ["w"]
    assert [summary.reason for summary in world.box.page().dead_letters] == ["it broke"]


def test_a_duplicate_is_kept_once(world: World) -> None:
    world.die()
    assert world.keep()
    assert world.keep()
    assert world.box.count("default") == 1


def test_what_pubsub_forwarded_by_itself_ends_the_record(world: World) -> None:
    attributes = {
        **world.task.attributes(),
        "CloudPubSubDeadLetterSourceDeliveryCount": "15",
        "CloudPubSubDeadLetterSourceTopicPublishTime": world.clock.now.isoformat(),
    }
    verdict = world.box.keep("default", world.task.data(), attributes, message_id="77", now=world.clock.now)
    assert verdict.kept is Kept.KEPT
    assert world.status() is Status.DEAD
    letter = world.box.get("t-1")
    assert "delivered 15 times" in letter.reason
    assert letter.attributes == world.task.attributes()


def test_a_task_that_succeeded_meanwhile_is_no_dead_letter(world: World) -> None:
    run = records.claim(None, world.task, owner="o", worker="w", now=world.clock.now, lease_s=20, max_attempts=1)
    assert isinstance(run, records.Run)
    world.records.write(records.succeeded(run.record, now=world.clock.now), if_generation=0)
    assert not world.keep()
    assert world.box.count("default") == 0


def test_a_task_that_is_running_is_waited_for(world: World) -> None:
    run = records.claim(None, world.task, owner="o", worker="w", now=world.clock.now, lease_s=20, max_attempts=1)
    assert isinstance(run, records.Run)
    world.records.write(run.record, if_generation=0)
    with pytest.raises(Conflict, match="running"):
        world.keep()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"not json", b"[]"])
def test_what_can_not_be_read_is_kept_byte_for_byte(world: World, data: bytes) -> None:
    assert world.keep(data, reason="malformed")
    (summary,) = world.box.page().dead_letters
    assert world.box.get(summary.task_id).body() == data


def test_a_replay_keeps_id_and_history_and_starts_the_attempts_anew(world: World) -> None:
    world.die()
    world.keep()
    world.clock.forward(60)
    world.box.replay("t-1", world.publisher, now=world.clock.now, payload={"n": 2})
    stored = world.records.read("t-1")
    assert stored is not None
    assert (stored.record.status, stored.record.payload, stored.record.counted_attempts) == (Status.QUEUED, {"n": 2}, 0)
    assert len(stored.record.attempts) == 1
    (published,) = world.topics.published
    assert published.topic == "poolhouse-default"
    assert b'"task_id":"t-1"' in published.message.data
    assert b'"n":2' in published.message.data
    with pytest.raises(TaskNotFound):
        world.box.get("t-1")


def test_a_late_copy_of_what_was_replayed_makes_no_new_dead_letter(world: World) -> None:
    world.die()
    world.keep()
    late: dict[str, Any] = dict(world.task.attributes())
    late["CloudPubSubDeadLetterSourceTopicPublishTime"] = world.clock.now.isoformat()
    world.clock.forward(60)
    world.box.replay("t-1", world.publisher, now=world.clock.now)
    verdict = world.box.keep("default", world.task.data(), late, message_id="78", now=world.clock.now)
    assert verdict.kept is Kept.OVER
    assert world.status() is Status.QUEUED


def test_a_replay_that_can_not_be_published_leaves_the_dead_letter(world: World) -> None:
    world.die()
    world.keep()
    world.topics.down = True
    with pytest.raises(QueueUnavailable):
        world.box.replay("t-1", world.publisher, now=world.clock.now)
    assert world.box.get("t-1")
    world.topics.down = False
    world.box.replay("t-1", world.publisher, now=world.clock.now + timedelta(seconds=1))
    assert len(world.topics.published) == 1


def test_a_replay_of_a_task_that_has_succeeded_since_is_refused(world: World) -> None:
    world.die()
    world.keep()
    stored = world.records.read("t-1")
    assert stored is not None
    won = stored.record.model_copy(update={"status": Status.SUCCEEDED})
    world.records.write(won, if_generation=stored.generation)
    with pytest.raises(Conflict, match="succeeded already"):
        world.box.replay("t-1", world.publisher, now=world.clock.now)
    assert world.topics.published == []


def test_what_is_discarded_stays_failed_and_no_late_copy_brings_it_back(world: World) -> None:
    world.die()
    world.keep()
    world.box.discard("t-1", now=world.clock.now)
    assert world.status() is Status.FAILED
    assert not world.keep()
    assert world.box.count("default") == 0
    assert world.store.get(names.record("t-1"))


def test_a_long_reason_and_many_attributes_fit_pubsubs_limits() -> None:
    clock = ManualClock()
    attributes = attributes_for(
        {f"a{number}": "x" for number in range(100)},
        task_id="t-1",
        reason="ä" * 2000,
        message_id="5",
        published_at=clock.now,
    )
    assert len(attributes) <= 100
    assert len(attributes[REASON].encode()) <= 1024
