"""Tasks whose payload is an object: it is read and checked, and deleted with the task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import large_values, records, transitions
from poolhouse.pipeline.tasks.large_values import payload_object
from poolhouse.pipeline.tasks.records import Status
from tests.kit.unit.worker import handlers
from tests.kit.unit.worker.conftest import Engine, FakeDelivery

TEXT = "x" * 5000


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler's process needs; it makes no call."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("BUCKET_NAME", "test-bucket")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")


def delivered(engine: Engine, task_type: str, *, attempt: int = 1, write: bool = True) -> FakeDelivery:
    message = TaskMessage(
        task_id="t-1", task_type=task_type, submitted_at=engine.clock.now, queue="default", payload={"text": TEXT}
    ).by_reference(above_bytes=1000)
    assert message.payload_object is not None
    assert message.payload_data is not None
    if write:
        large_values.write(engine.store, message.payload_object, message.payload_data)
        engine.store.writes.clear()
    return FakeDelivery(message.data(), message.attributes(), engine.clock.now, attempt=attempt)


def of(engine: Engine, message: Any) -> FakeDelivery:
    return FakeDelivery(message.data, message.attributes, engine.clock.now)


def payloads(engine: Engine) -> tuple[str, ...]:
    return engine.store.names(names.PAYLOADS)


@pytest.mark.parametrize("task_type", ["length", "length_of_cpu"])
def test_the_handler_gets_it_and_it_is_gone_once_the_task_has_succeeded(engine: Engine, task_type: str) -> None:
    delivery = delivered(engine, task_type)
    engine.attempts.process(delivery)
    assert (delivery.ended, engine.record().result, payloads(engine)) == (["ack"], 5000, ())


def test_the_record_refers_to_it_and_costs_the_two_writes_of_every_task(engine: Engine) -> None:
    delivery = delivered(engine, "length")
    engine.attempts.process(delivery)
    record = engine.record()
    assert (record.payload, record.payload_object and record.payload_object.size_bytes) == ({}, 5011)
    assert len(engine.store.writes) == 2


def test_it_stays_for_the_next_attempt(engine: Engine) -> None:
    delivery = delivered(engine, "boom_text")
    engine.attempts.process(delivery)
    assert (engine.record().status, len(payloads(engine))) == (Status.QUEUED, 1)


def test_it_stays_for_the_replay_of_a_dead_letter_which_refers_to_it(engine: Engine) -> None:
    delivery = delivered(engine, "length_refused")
    engine.attempts.process(delivery)
    [letter] = engine.dead_letters
    assert (delivery.ended, len(payloads(engine))) == (["ack"], 1)
    assert letter["payload_sha256"] == delivery.attributes["payload_sha256"]


def test_it_is_gone_with_a_task_that_was_cancelled_before_a_worker_saw_it(engine: Engine) -> None:
    delivery = delivered(engine, "length")
    now = engine.clock.now
    unknown = records.TaskRecord(
        task_id="t-1", task_type="", queue="", status=Status.QUEUED, submitted_at=now, updated_at=now
    )
    engine.records.write(transitions.cancelled(unknown, now=now), if_generation=ABSENT)
    delivery.attempt = 2
    engine.attempts.process(delivery)
    assert (delivery.ended, payloads(engine), handlers.runs) == (["ack"], (), [])


def test_a_duplicate_of_a_task_that_has_ended_removes_it_once_more_and_runs_nothing(engine: Engine) -> None:
    engine.attempts.process(delivered(engine, "length"))
    late = delivered(engine, "length", attempt=2)  # submitted again by a call whose first answer was lost
    engine.attempts.process(late)
    assert (late.ended, payloads(engine), handlers.runs) == (["ack"], (), ["t-1"])


def test_without_a_record_it_stays_since_a_duplicate_runs_again(engine: Engine) -> None:
    for _ in range(2):
        engine.attempts.process(delivered(engine, "length_unrecorded", write=not payloads(engine)))
    assert (len(payloads(engine)), handlers.runs) == (1, ["t-1", "t-1"])


class TestLost:
    def reason(self, engine: Engine, delivery: FakeDelivery) -> str:
        engine.attempts.process(delivery)
        assert (delivery.ended, handlers.runs) == (["ack"], [])
        [letter] = engine.dead_letters
        assert engine.record().status is Status.FAILED
        return letter["dead_letter_reason"]

    def test_one_that_is_gone_is_a_dead_letter_with_its_name(self, engine: Engine) -> None:
        reason = self.reason(engine, delivered(engine, "length", write=False))
        assert reason.startswith("the payload can't be read: payloads/t-1/")
        assert "is gone" in reason

    def test_one_that_was_changed_is_too_and_its_content_is_told_to_nobody(self, engine: Engine) -> None:
        delivery = delivered(engine, "length")
        engine.store.put(payloads(engine)[0], b'{"text": "secret"}')
        reason = self.reason(engine, delivery)
        assert "not what was written" in reason
        assert "secret" not in reason + engine.record().model_dump_json()

    def test_a_message_published_by_hand_reads_no_object_of_another_task(self, engine: Engine) -> None:
        others = b'{"text": "secret"}'
        value = payload_object("other", others)
        engine.store.put(value.name, others)
        reference = {"payload_sha256": value.sha256, "payload_bytes": str(value.size_bytes)}
        delivery = FakeDelivery(b'{"task_type": "length", "task_id": "t-1"}', reference, engine.clock.now)
        assert "is gone" in self.reason(engine, delivery)
        assert payloads(engine) == (value.name,)


def test_while_storage_is_down_the_attempt_waits_and_a_stop_hands_the_task_over(engine: Engine) -> None:
    delivery = delivered(engine, "length")
    opened = engine.store.open_read

    def fails(name: str, **options: Any) -> Any:
        engine.stopping.set()
        engine.store.open_read = opened  # type: ignore[method-assign]
        raise StoreUnavailable("down")

    engine.store.open_read = fails  # type: ignore[method-assign]
    engine.attempts.process(delivery)
    assert (delivery.ended, engine.record().stops, len(payloads(engine))) == ([("hand over", "t-1")], 1, 1)


class TestFollowUps:
    def parent(self, engine: Engine, size: int) -> list[str]:
        delivery = engine.task("large_parent", "p-1", n=size)
        engine.attempts.process(delivery)
        assert delivery.ended == ["ack"]
        result: list[str] = engine.record("p-1").result
        return result

    def test_large_ones_are_objects_and_small_ones_are_not(self, engine: Engine) -> None:
        large, small, unique = self.parent(engine, 1_100_000)
        assert [name.split("/")[1] for name in payloads(engine)] == sorted([large, unique])
        sent = {each.message.attributes["task_id"]: each.message for each in engine.topics.published}
        assert json.loads(sent[small].data)["text"] == "small"
        assert all("payload_sha256" in sent[task_id].attributes for task_id in (large, unique))
        assert len(engine.record("p-1").model_dump_json()) < 5000
        engine.attempts.process(of(engine, sent[large]))
        assert engine.record(large).result == 1_100_000

    def test_a_duplicate_of_the_parent_writes_nothing_though_they_have_ended(self, engine: Engine) -> None:
        _, _, unique = self.parent(engine, 1_100_000)
        for each in tuple(engine.topics.published):
            delivery = of(engine, each.message)
            delivery.attempt = 2
            engine.attempts.process(delivery)
        assert engine.record(unique).result == 1_100_000
        assert payloads(engine) == ()
        writes = list(engine.store.writes)
        engine.attempts.process(engine.task("large_parent", "p-1", attempt=2, n=1_100_000))
        assert engine.store.writes == writes

    def test_one_whose_key_is_taken_leaves_no_object(self, engine: Engine) -> None:
        first = self.parent(engine, 1_100_000)
        engine.attempts.process(engine.task("large_parent", "p-2", n=1_100_000))
        second = engine.record("p-2").result
        assert engine.record(second[2]).status is Status.CANCELLED
        left = {name.split("/")[1] for name in payloads(engine)}
        assert left == {first[0], first[2], second[0]}

    def test_one_larger_than_a_payload_may_be_is_the_handlers_error(self, engine: Engine) -> None:
        engine.attempts.process(engine.task("large_parent", "p-1", n=20_000_000))
        error = engine.record("p-1").attempts[-1].error
        assert error is not None
        assert "payloads.max_bytes" in error.message
