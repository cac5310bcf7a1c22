"""Dead letters: kept once, replayed with their history, discarded for good."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from poolhouse.pipeline import json_values, names
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.control.filters import Filter
from poolhouse.pipeline.errors import Conflict, QueueUnavailable, StoreUnavailable, TaskNotFound
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks import large_values, records, scan, transitions
from poolhouse.pipeline.tasks.dead_letter import Kept, Verdict
from poolhouse.pipeline.tasks.dead_letter_attributes import EARLIER_DELIVERIES, REASON, TRIED, attributes_for
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.links import Links
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import TaskIds
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
        self.box = DeadLetterStore(self.store, queues=("urgent", "default", "bulk"), task_ids=TaskIds(b"k" * 32))
        self.task = TaskMessage(
            task_id="t-1",
            task_type="echo",
            submitted_at=self.clock.now,
            queue="default",
            payload={"n": 1},
            links=Links(trigger="files"),
        )

    def die(self, task_id: str = "t-1") -> None:
        run = transitions.claim(None, self.task, owner="o", worker="w", now=self.clock.now, lease_s=20, max_attempts=1)
        assert isinstance(run, transitions.Run)
        dead = transitions.died(run.record, reason="it broke", now=self.clock.now)
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
    run = transitions.claim(None, world.task, owner="o", worker="w", now=world.clock.now, lease_s=20, max_attempts=1)
    assert isinstance(run, transitions.Run)
    world.records.write(transitions.succeeded(run.record, now=world.clock.now), if_generation=0)
    assert not world.keep()
    assert world.box.count("default") == 0


def test_a_task_that_is_running_is_waited_for(world: World) -> None:
    run = transitions.claim(None, world.task, owner="o", worker="w", now=world.clock.now, lease_s=20, max_attempts=1)
    assert isinstance(run, transitions.Run)
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
    assert b'"_poolhouse":{"trigger":"files"}' in published.message.data
    assert stored.record.trigger == "files"
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
    assert world.records.read("t-1") is not None


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


def die_again(world: World, *, message_id: str) -> Kept:
    """The replayed task is run, refused, and its message sent to the dead letters."""
    stored = world.records.read("t-1")
    assert stored is not None
    run = transitions.claim(
        stored.record, world.task, owner="o2", worker="w2", now=world.clock.now, lease_s=20, max_attempts=5
    )
    assert isinstance(run, transitions.Run)
    dead = transitions.died(run.record, reason="it broke again", now=world.clock.now)
    world.records.write(dead, if_generation=stored.generation)
    return keep_again(world, message_id=message_id)


def keep_again(world: World, *, message_id: str) -> Kept:
    attributes = attributes_for(
        world.task.attributes(),
        task_id="t-1",
        reason="it broke again",
        message_id=message_id,
        published_at=world.clock.now,
    )
    data = world.task.data()
    return world.box.keep("default", data, attributes, message_id="78", now=world.clock.now).kept


def test_a_task_that_dies_again_before_its_replay_has_ended_keeps_its_dead_letter(world: World) -> None:
    world.die()
    world.keep()
    delete = world.store.delete

    def slow(name: str, *, if_generation: int | None = None) -> None:
        with pytest.raises(Conflict, match="being replayed"):  # it waits for the replay to end
            die_again(world, message_id="6")
        delete(name)  # as an emulator does: whatever the precondition says

    world.store.delete = slow  # type: ignore[method-assign]
    world.box.replay("t-1", world.publisher, now=world.clock.now)
    assert keep_again(world, message_id="6") is Kept.KEPT
    assert world.box.get("t-1").reason == "it broke again"
    assert [attempt.worker for attempt in world.box.get("t-1").attempts] == ["w", "w2"]


def test_a_letter_left_over_from_an_earlier_life_gives_way_to_the_new_one(world: World) -> None:
    world.die()
    world.keep()
    delete, world.store.delete = world.store.delete, _no_delete  # type: ignore[method-assign, assignment]
    world.box.replay("t-1", world.publisher, now=world.clock.now)
    world.store.delete = delete  # type: ignore[method-assign]
    world.clock.forward(31)
    assert die_again(world, message_id="6") is Kept.KEPT
    assert world.box.get("t-1").message_id == "6"
    # A late copy of the first death changes nothing.
    world.clock.now -= timedelta(seconds=31)
    assert world.keep()
    assert world.box.get("t-1").message_id == "6"


def _no_delete(name: str, **_: Any) -> None:
    raise StoreUnavailable("storage is down")


def test_a_replay_after_half_a_discard_clears_it(world: World) -> None:
    world.die()
    world.keep()
    delete, world.store.delete = world.store.delete, _no_delete  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        world.box.discard("t-1", now=world.clock.now)
    world.store.delete = delete  # type: ignore[method-assign]
    world.box.replay("t-1", world.publisher, now=world.clock.now)
    assert die_again(world, message_id="6") is Kept.KEPT
    assert world.status() is Status.DEAD


def test_a_discard_after_half_a_replay_ends_the_task(world: World) -> None:
    world.die()
    world.keep()
    world.topics.down = True
    with pytest.raises(QueueUnavailable):
        world.box.replay("t-1", world.publisher, now=world.clock.now)
    world.box.discard("t-1", now=world.clock.now)
    assert world.status() is Status.FAILED
    assert world.box.count("default") == 0


def test_of_many_replays_at_once_one_publishes(world: World) -> None:
    world.die()
    world.keep()
    start = threading.Barrier(8)

    def replay(_: int) -> str:
        start.wait()
        try:
            return world.box.replay("t-1", world.publisher, now=world.clock.now)
        except (Conflict, TaskNotFound) as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(replay, range(8)))
    assert len(world.topics.published) == 1
    assert sum(answer.isdecimal() for answer in answers) == 1


def test_a_replay_and_a_discard_at_once_leave_one_of_both(world: World) -> None:
    world.die()
    world.keep()
    world.store.before_write = lambda name: _meanwhile(world, name)
    with pytest.raises(Conflict, match="another call"):
        world.box.replay("t-1", world.publisher, now=world.clock.now)
    assert (world.status(), world.topics.published) == (Status.FAILED, [])


def _meanwhile(world: World, name: str) -> None:
    world.store.before_write = lambda name: None
    with contextlib.suppress(TaskNotFound):
        letter = world.store.get(names.dead_letter("default", "t-1"))
        world.box.discard("t-1", now=world.clock.now)
        world.store.put(names.dead_letter("default", "t-1"), letter[0])  # what the replay is about to overwrite


def forwarded(world: World, **more: str) -> Verdict:
    attributes = {**world.task.attributes(), "CloudPubSubDeadLetterSourceDeliveryCount": "15", **more}
    return world.box.keep("default", world.task.data(), attributes, message_id="77", now=world.clock.now)


def test_a_task_with_attempts_left_goes_back_though_pubsub_gave_it_up(world: World) -> None:
    run = transitions.claim(None, world.task, owner="o", worker="w", now=world.clock.now, lease_s=20, max_attempts=5)
    assert isinstance(run, transitions.Run)
    world.records.write(run.record, if_generation=0)
    world.clock.forward(21)  # its worker died
    verdict = forwarded(world)
    assert (verdict.kept, verdict.attributes[TRIED], verdict.attributes[EARLIER_DELIVERIES]) == (Kept.BACK, "1", "15")
    assert REASON not in verdict.attributes
    # It comes back without another attempt: something kills its workers before they begin.
    again = forwarded(world, **dict(verdict.attributes))
    assert (again.kept, world.status()) == (Kept.KEPT, Status.DEAD)
    assert world.box.get("t-1").attributes == world.task.attributes()


def test_a_task_that_waits_for_its_time_is_not_dead(world: World) -> None:
    run = transitions.claim(None, world.task, owner="o", worker="w", now=world.clock.now, lease_s=20, max_attempts=5)
    assert isinstance(run, transitions.Run)
    error = records.ErrorInfo(type="Retry", message="later")
    retry_at = world.clock.now + timedelta(hours=6)
    waits = transitions.retried(run.record, error=error, now=world.clock.now, retry_at=retry_at)
    world.records.write(waits, if_generation=0)
    assert forwarded(world, **{TRIED: "1"}).kept is Kept.BACK
    assert world.status() is Status.SCHEDULED


def test_a_type_without_records_has_the_attempts_it_declares(world: World) -> None:
    box = DeadLetterStore(
        world.store,
        queues=("default",),
        task_ids=TaskIds(b"k" * 32),
        unrecorded_attempts=lambda task_type, queue: 20 if task_type == "echo" else 0,
    )
    attributes = {**world.task.attributes(), "CloudPubSubDeadLetterSourceDeliveryCount": "15"}
    verdict = box.keep("default", world.task.data(), attributes, message_id="77", now=world.clock.now)
    assert verdict.kept is Kept.BACK
    attributes = {**verdict.attributes, "CloudPubSubDeadLetterSourceDeliveryCount": "5"}
    verdict = box.keep("default", world.task.data(), attributes, message_id="78", now=world.clock.now)
    assert verdict.kept is Kept.KEPT


def test_the_id_of_what_is_no_task_is_never_taken_from_its_attributes(world: World) -> None:
    world.die()
    world.keep()
    for task_id in ("t-1", "../../x"):
        verdict = world.box.keep("default", b"no JSON", {"task_id": task_id}, message_id="9", now=world.clock.now)
        assert verdict.task_id not in {"t-1", "../../x"}
    assert world.box.get("t-1").reason == "it broke"
    assert world.box.count("default") == 2


def test_a_task_with_an_unreadable_record_is_kept_and_can_be_replayed(world: World) -> None:
    world.store.put(names.record("t-1"), b"{}")
    assert forwarded(world).kept is Kept.KEPT
    assert "is not a record of this version" in world.box.get("t-1").reason
    world.box.replay("t-1", world.publisher, now=world.clock.now)
    assert world.status() is Status.QUEUED
    assert len(world.topics.published) == 1


def test_a_reason_with_an_escape_sequence_is_kept_as_text_that_a_header_can_hold(world: World) -> None:
    assert world.keep(b"no task", reason="\x1b[31mred\r\n")
    (summary,) = world.box.page().dead_letters
    assert summary.reason.isprintable()


def test_thousands_are_counted_with_few_listings(world: World) -> None:
    for number in range(3000):
        world.store.put(names.dead_letter("default", f"t-{number}"), b"{}")
    before = world.store.lists
    assert world.box.count("default") == 3000
    assert world.store.lists == before + 1


def test_the_workers_reason_stands_for_what_is_no_task_and_pubsubs_does_not(world: World) -> None:
    assert world.keep(b"no task", reason="it tells of an object of the bucket other")
    assert [letter.reason for letter in world.box.page().dead_letters] == ["it tells of an object of the bucket other"]
    world.box.keep("bulk", b"no task", {}, message_id="78", now=world.clock.now)
    (forwarded,) = world.box.page(Filter(queue="bulk")).dead_letters
    assert forwarded.reason.startswith("malformed message: the body is not JSON")


def test_a_new_payload_that_a_step_returned_before_outlives_the_replay(world: World) -> None:
    box = DeadLetterStore(world.store, queues=("default",), task_ids=TaskIds(b"k" * 32), inline_bytes=2)
    new = {"n": 2}
    value = large_values.payload_object("t-1", json_values.encode(new, what="the payload"))
    now = world.clock.now
    step = records.Step(name="fetch", attempt=1, started_at=now, ended_at=now, result_object=value)
    run = transitions.claim(None, world.task, owner="o", worker="w", now=now, lease_s=20, max_attempts=1)
    assert isinstance(run, transitions.Run)
    dead = transitions.died(run.record.model_copy(update={"steps": (step,)}), reason="it broke", now=now)
    world.records.write(dead, if_generation=0)
    assert world.keep()
    box.replay("t-1", world.publisher, now=now, payload=new)
    assert large_values.read(world.store, value) == new


@pytest.mark.parametrize("limit", range(1, 6))
def test_a_page_is_one_list_call_whatever_it_leaves_out(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(scan, "SCAN_LIMIT", limit)
    for number in range(5):
        world.store.put(
            f"dead-letters/default/t-{number}.json", b"{}", metadata={"reason": "rare" if number % 3 == 1 else "common"}
        )
    calls = world.store.lists
    assert len(world.box.page(page_size=5).dead_letters) == 5
    assert world.store.lists - calls == 1
    found, token, pages = [], None, 0
    while pages == 0 or token is not None:
        page = world.box.page(Filter(reason="rare"), page_size=5, page_token=token)
        found += [letter.task_id for letter in page.dead_letters]
        token, pages = page.next_token, pages + 1
    assert found == ["t-1", "t-4"]
    assert world.store.lists - calls == 1 + pages
