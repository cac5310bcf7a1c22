"""Payloads too large for a message: on every way to submit they are objects, and go with their tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from fastapi.testclient import TestClient

from poolhouse.api import create_app
from poolhouse.pipeline import names
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks.dead_letter_attributes import REASON
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.large_values import payload_object
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, Unique, task
from poolhouse.worker.registry import Registry
from tests.kit.unit.api.conftest import REGISTRY, Api, settings
from tests.kit.unit.api.test_dead_letters import bury

#: More than the default of `payloads.inline_bytes`.
LARGE = "x" * 1_100_000


class Document(Payload):
    key: str
    text: str = ""


@task("document", unique=Unique(by=("key",)))
def document(payload: Document, ctx: TaskContext) -> None: ...


@pytest.fixture
def api() -> Iterator[Api]:
    store, topics, clock, environment = MemoryStore(), MemoryTopics(), ManualClock(), settings()
    registry = Registry([*document.__poolhouse_handlers__, *REGISTRY.values()])
    app = create_app(
        environment,
        store=store,
        publisher=Publisher(environment, topics=topics),
        registry=registry,
        clock=clock,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/ready")
        store.writes.clear()
        yield Api(app, client, store, topics, clock, environment)


def post(api: Api, body: dict[str, Any], **headers: str) -> Any:
    answer = api.client.post("/tasks", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def payloads(api: Api) -> tuple[str, ...]:
    return api.store.names(names.PAYLOADS)


def kept(api: Api) -> Any:
    """What the one object holds."""
    [name] = payloads(api)
    return json.loads(api.store.get(name)[0])


def body(**fields: Any) -> dict[str, Any]:
    return {"task_type": "anything", "payload": {"value": LARGE}, **fields}


def test_a_small_payload_costs_no_storage_call(api: Api) -> None:
    calls = api.store.calls
    post(api, body(payload={"value": "x" * 900_000}))
    assert (api.store.calls, payloads(api)) == (calls, ())


def test_a_large_one_costs_one_write_and_its_message_refers_to_it(api: Api) -> None:
    task_id = post(api, body())["task_id"]
    [published] = api.topics.published
    value = payload_object(task_id, json.dumps({"value": LARGE}, separators=(",", ":")).encode())
    assert published.message.attributes["payload_sha256"] == value.sha256
    assert published.message.attributes["payload_bytes"] == str(value.size_bytes)
    assert "value" not in json.loads(published.message.data)
    assert api.store.writes == [value.name]


def test_one_that_no_message_could_hold_is_taken(api: Api) -> None:
    post(api, body(payload={"value": "x" * 19_000_000}))
    assert len(api.topics.published[0].message.data) < 1000


def test_the_simple_form_does_the_same(api: Api) -> None:
    api.submit(value=LARGE)
    assert kept(api) == {"value": LARGE}
    assert len(api.topics.published[0].message.data) < 1000


def test_each_task_of_a_batch_has_its_own(api: Api) -> None:
    tasks = [body(), body(payload={"value": 1}), body()]
    answer = api.client.post("/tasks:batch", json={"tasks": tasks}).json()
    assert (answer["submitted"], len(payloads(api)), len(api.topics.published)) == (3, 2, 3)


def test_a_repeated_call_with_the_same_key_writes_the_same_object_once(api: Api) -> None:
    first = post(api, body(), **{"Idempotency-Key": "k"})
    again = post(api, body(), **{"Idempotency-Key": "k"})
    assert first["task_id"] == again["task_id"]
    assert sum(name.startswith(names.PAYLOADS) for name in api.store.writes) == 1


def test_a_call_that_was_not_answered_by_the_queue_refers_to_the_same_object_when_it_is_repeated(api: Api) -> None:
    api.topics.down = True
    assert api.client.post("/tasks", json=body(), headers={"Idempotency-Key": "k"}).status_code == 503
    api.topics.down = False
    post(api, body(), **{"Idempotency-Key": "k"})
    assert kept(api) == {"value": LARGE}


class TestWaiting:
    @pytest.mark.parametrize("delay_s", [60, 86_400])
    def test_a_delayed_task_has_it_in_the_bucket_too(self, api: Api, delay_s: float) -> None:
        task_id = post(api, body(delay_s=delay_s))["task_id"]
        shown = api.client.get(f"/tasks/{task_id}").json()
        assert (shown["payload"], shown["payload_object"]["name"]) == ({}, payloads(api)[0])
        assert all(len(api.store.get(name)[0]) < 5000 for name in api.store.names() if name != payloads(api)[0])

    def test_its_timer_fires_a_message_that_refers_to_it(self, api: Api) -> None:
        post(api, body(delay_s=86_400))
        api.clock.forward(86_400)
        assert Timers(api.store).fire(api.app.state.services.publisher, until=api.clock.now) == 1
        assert "payload_sha256" in api.topics.published[0].message.attributes

    def test_run_now_refers_to_it_and_writes_it_no_second_time(self, api: Api) -> None:
        task_id = post(api, body(delay_s=86_400))["task_id"]
        api.client.post(f"/tasks/{task_id}:run-now")
        assert "payload_sha256" in api.topics.published[0].message.attributes
        assert sum(name.startswith(names.PAYLOADS) for name in api.store.writes) == 1

    def test_it_is_removed_with_a_cancelled_task(self, api: Api) -> None:
        task_id = post(api, body(delay_s=86_400))["task_id"]
        assert api.client.post(f"/tasks/{task_id}:cancel").json()["status"] == "cancelled"
        assert (payloads(api), api.store.names(names.TIMERS)) == ((), ())


class TestUnique:
    BODY: ClassVar = {"task_type": "document", "payload": {"key": "a", "text": LARGE}}

    def test_a_unique_task_has_one_and_a_conflict_writes_none(self, api: Api) -> None:
        task_id = post(api, self.BODY)["task_id"]
        assert post(api, self.BODY) == {"task_id": task_id, "message_id": "", "status": "exists"}
        assert len(payloads(api)) == 1
        record = api.records.read(task_id)
        assert record is not None
        assert record.record.payload == {}

    def test_of_many_at_once_one_writes_it(self, api: Api) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: post(api, self.BODY), range(8)))
        assert sorted(answer["status"] for answer in answers) == ["exists"] * 7 + ["submitted"]
        assert len(payloads(api)) == 1


class TestDeadLetters:
    def test_a_replay_as_it_is_refers_to_the_same_object(self, api: Api) -> None:
        task_id = bury(api, value=LARGE)
        assert api.client.post(f"/dead-letters/{task_id}:replay").status_code == 200
        assert kept(api) == {"value": LARGE}
        assert "payload_sha256" in api.topics.published[-1].message.attributes

    def test_a_replay_with_a_small_payload_removes_it(self, api: Api) -> None:
        task_id = bury(api, value=LARGE)
        answer = api.client.post(f"/dead-letters/{task_id}:replay", json={"payload": {"value": 1}})
        assert (answer.status_code, payloads(api)) == (200, ())
        again = api.topics.published[-1].message
        assert ("payload_sha256" in again.attributes, json.loads(again.data)["value"]) == (False, 1)
        stored = api.records.read(task_id)
        assert stored is not None
        assert (stored.record.payload, stored.record.payload_object) == ({"value": 1}, None)

    def test_a_replay_with_another_large_one_replaces_it(self, api: Api) -> None:
        task_id = bury(api, value=LARGE)
        other = "y" * 2_000_000
        assert api.client.post(f"/dead-letters/{task_id}:replay", json={"payload": {"value": other}}).is_success
        assert kept(api) == {"value": other}
        assert api.topics.published[-1].message.attributes["payload_bytes"] == str(len('{"value":""}') + 2_000_000)

    def test_discarding_removes_it(self, api: Api) -> None:
        task_id = bury(api, value=LARGE)
        assert len(payloads(api)) == 1
        assert api.client.post(f"/dead-letters/{task_id}:discard").status_code == 204
        assert payloads(api) == ()

    def test_a_replayed_unique_task_takes_the_key_that_its_payload_says(self, api: Api) -> None:
        first = post(api, TestUnique.BODY)["task_id"]
        message = api.topics.published[-1].message
        _die(api, first, message)
        second = post(api, TestUnique.BODY)["task_id"]
        answer = api.client.post(f"/dead-letters/{first}:replay")
        assert (answer.status_code, answer.json()["existing_task_id"]) == (409, second)


def _die(api: Api, task_id: str, message: Any) -> None:
    box = DeadLetterStore(api.store, queues=tuple(api.settings.topology.by_name), task_ids=load_task_ids(api.store))
    box.keep("default", message.data, {**message.attributes, REASON: "no"}, message_id="1", now=api.clock())
    stored = api.records.read(task_id)
    assert stored is not None
    assert stored.record.status is Status.DEAD
