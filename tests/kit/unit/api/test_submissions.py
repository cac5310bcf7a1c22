"""Submitting tasks: what a client gets, and what the queue gets."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import MessageRefused
from poolhouse.pipeline.messaging.message import decode
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.testing.doubles import Published
from tests.kit.waiting import until

from .conftest import Api

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def body_of(published: Published) -> dict[str, Any]:
    return json.loads(published.message.data)  # type: ignore[no-any-return]


def test_a_simple_submit_is_answered_with_the_ids_of_task_and_message(api: Api) -> None:
    answer = api.client.post("/submit-task", json={"task_type": "anything", "value": "grüße"})

    assert answer.status_code == 200
    [published] = api.topics.published
    assert answer.json() == {
        "task_id": published.message.attributes["task_id"],
        "message_id": published.message_id,
        "status": "submitted",
    }


def test_the_message_is_flat_and_its_attributes_repeat_id_type_and_queue(api: Api) -> None:
    task_id = api.submit(value={"deep": [1, 2.5, None, "ü"]})

    [published] = api.topics.published
    assert published.topic == "poolhouse-default"
    assert body_of(published) == {
        "task_id": task_id,
        "task_type": "anything",
        "submitted_at": "2026-03-01T12:00:00.000Z",
        "value": {"deep": [1, 2.5, None, "ü"]},
    }
    assert published.message.attributes == {"task_id": task_id, "task_type": "anything", "queue": "default"}


def test_a_worker_reads_back_what_was_submitted(api: Api) -> None:
    task_id = api.submit(value=[1, {"a": "b"}])

    [published] = api.topics.published
    key, _ = api.store.get(names.TASK_ID_KEY)
    task = decode(
        published.message.data,
        published.message.attributes,
        queue="default",
        message_id=published.message_id,
        published_at=api.clock(),
        task_ids=TaskIds(key),
    )
    assert (task.task_id, task.task_type, task.payload) == (task_id, "anything", {"value": [1, {"a": "b"}]})


@pytest.mark.parametrize(
    ("path", "body", "task_type", "topic"),
    [
        ("/submit-file-task", {"filename": "a/b.csv"}, "file_processing", "poolhouse-default"),
        ("/submit-file-task", {"filename": "a.csv", "task_type": "file_processing"}, "file_processing", None),
        ("/submit-data-task", {"dataset_size": 10}, "data_transformation", "poolhouse-bulk"),
        ("/submit-data-task?queue=urgent", {"dataset_size": 10}, "data_transformation", "poolhouse-urgent"),
        ("/submit-task?queue=bulk", {"task_type": "anything"}, "anything", "poolhouse-bulk"),
    ],
)
def test_each_simple_call_submits_to_the_queue_of_its_type_or_the_one_named(
    api: Api, path: str, body: dict[str, Any], task_type: str, topic: str | None
) -> None:
    answer = api.client.post(path, json=body)

    assert answer.status_code == 200
    [published] = api.topics.published
    assert published.message.attributes["task_type"] == task_type
    assert topic in {None, published.topic}


def test_post_tasks_answers_202_and_says_where_the_task_is(api: Api) -> None:
    answer = api.client.post("/tasks", json={"task_type": "anything", "payload": {"value": 1}, "queue": "urgent"})

    assert answer.status_code == 202
    task_id = answer.json()["task_id"]
    assert answer.headers["location"] == f"/tasks/{task_id}"
    assert api.client.get(answer.headers["location"]).json()["status"] == "queued"
    assert api.topics.published[0].topic == "poolhouse-urgent"


def test_a_payload_that_needs_no_field_may_be_left_out(api: Api) -> None:
    assert api.client.post("/tasks", json={"task_type": "anything"}).status_code == 202


def test_a_plain_submit_makes_no_storage_call(api: Api) -> None:
    api.submit()
    before = api.store.calls

    api.submit()
    api.client.post("/tasks", json={"task_type": "anything"})

    assert api.store.calls == before


def test_trace_context_travels_with_the_task(api: Api) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    api.client.post("/submit-task", json={"task_type": "anything"}, headers=headers)

    attributes = api.topics.published[0].message.attributes
    assert (attributes["traceparent"], attributes["tracestate"]) == (TRACEPARENT, "vendor=1")


@pytest.mark.parametrize("parent", ["nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", TRACEPARENT + "-more"])
def test_a_trace_context_that_is_none_is_left_out(api: Api, parent: str) -> None:
    answer = api.client.post("/submit-task", json={"task_type": "anything"}, headers={"traceparent": parent})

    assert answer.status_code == 200
    assert "traceparent" not in api.topics.published[0].message.attributes


class TestQueueDown:
    @pytest.mark.parametrize("path", ["/submit-task", "/tasks"])
    def test_a_submit_is_503_with_retry_after_and_nothing_is_left_behind(self, api: Api, path: str) -> None:
        objects = api.store.names()
        api.topics.down = True

        answer = api.client.post(path, json={"task_type": "anything"})

        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert "queue" in answer.json()["error"]
        assert api.topics.published == []
        assert api.store.names() == objects

    def test_the_answer_waits_until_the_queue_has_the_message(self, api: Api) -> None:
        api.topics.hold = True
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(api.client.post, "/submit-task", json={"task_type": "anything"})
            until(lambda: bool(api.topics.requests))
            assert not answer.done()
            api.topics.release()
            assert answer.result(timeout=5).status_code == 200


class TestBucketDown:
    def test_a_plain_submit_works_once_the_deployment_is_known(self, api: Api) -> None:
        api.submit()
        api.store.failure = storage_down()

        assert api.client.post("/submit-task", json={"task_type": "anything"}).status_code == 200

    def test_a_submit_with_a_key_is_503_and_publishes_nothing(self, api: Api) -> None:
        api.submit()
        api.store.failure = storage_down()

        answer = api.client.post("/tasks", json={"task_type": "anything"}, headers={"Idempotency-Key": "k"})

        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert len(api.topics.published) == 1


class TestIdempotency:
    def post(self, api: Api, value: Any, key: str = "order-7") -> Any:
        return api.client.post(
            "/tasks", json={"task_type": "anything", "payload": {"value": value}}, headers={"Idempotency-Key": key}
        )

    def test_the_same_key_and_body_give_the_same_task_and_one_message(self, api: Api) -> None:
        first, second = self.post(api, 1), self.post(api, 1)

        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert len(api.topics.published) == 1

    def test_values_that_are_made_for_each_task_are_no_difference(self, api: Api) -> None:
        first, second = (
            api.client.post("/tasks", json={"task_type": "stamped"}, headers={"Idempotency-Key": "k"}) for _ in range(2)
        )

        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()

    def test_the_order_of_the_fields_is_no_difference(self, api: Api) -> None:
        assert self.post(api, {"a": 1, "b": 2}).json() == self.post(api, {"b": 2, "a": 1}).json()

    def test_another_body_is_a_conflict(self, api: Api) -> None:
        self.post(api, 1)

        answer = self.post(api, 2)

        assert answer.status_code == 409
        assert "Idempotency-Key" in answer.json()["error"]
        assert len(api.topics.published) == 1

    def test_another_key_is_another_task(self, api: Api) -> None:
        assert self.post(api, 1, "a").json()["task_id"] != self.post(api, 1, "b").json()["task_id"]

    def test_two_calls_at_the_same_time_submit_one_task(self, api: Api) -> None:
        gate = threading.Barrier(8)

        def call() -> Any:
            gate.wait()
            return self.post(api, 1)

        with ThreadPoolExecutor(8) as pool:
            answers = [call.result() for call in [pool.submit(call) for _ in range(8)]]

        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["task_id"] for answer in answers}) == 1
        assert len(api.topics.published) == 1

    def test_a_call_waits_for_the_other_that_is_publishing(self, api: Api) -> None:
        api.topics.hold = True
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(self.post, api, 1)
            until(lambda: bool(api.topics.requests))
            second = pool.submit(self.post, api, 1)
            calls = api.store.calls
            until(lambda: api.store.calls >= calls + 4)
            assert not second.done()
            api.topics.release()
            assert first.result(timeout=5).json() == second.result(timeout=5).json()
        assert len(api.topics.published) == 1

    def test_after_a_failed_publish_the_next_call_publishes_the_same_task_at_once(self, api: Api) -> None:
        api.topics.down = True
        assert self.post(api, 1).status_code == 503
        name, _ = api.store.names(names.IDEMPOTENCY)
        task_id = json.loads(api.store.get(name)[0])["task_id"]

        api.topics.down = False
        answer = self.post(api, 1)

        assert answer.status_code == 202
        assert answer.json()["task_id"] == task_id
        assert [body_of(message)["task_id"] for message in api.topics.published] == [task_id]

    def test_a_key_whose_call_died_is_taken_over_when_its_time_is_up(self, api: Api) -> None:
        self.post(api, 1)
        name, end = api.store.names(names.IDEMPOTENCY)
        record = json.loads(api.store.get(name)[0])
        api.store.delete(end)  # as left by a process killed while it published
        api.clock.forward(10)

        answer = self.post(api, 1)

        assert answer.json()["task_id"] == record["task_id"]
        assert "idempotency-replayed" not in answer.headers
        first, second = (body_of(message) for message in api.topics.published)
        assert first == second

    def test_a_key_that_another_call_holds_too_long_is_503(self, api: Api) -> None:
        self.post(api, 1)
        name, end = api.store.names(names.IDEMPOTENCY)
        record = json.loads(api.store.get(name)[0])
        api.store.delete(end)
        record["publishing_until"] = (api.clock() + timedelta(seconds=100)).isoformat()
        api.store.put(name, json.dumps(record).encode())
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.post, api, 1)
            calls = api.store.calls
            until(lambda: api.store.calls >= calls + 2)
            api.clock.forward(50)
            assert answer.result(timeout=5).status_code == 503
        assert len(api.topics.published) == 1

    def test_a_write_whose_answer_was_lost_is_recognised_as_ones_own(self, api: Api) -> None:
        put = api.store.put

        def twice(name: str, data: bytes, **options: Any) -> int:
            if options.get("if_generation") == ABSENT and name.startswith(names.IDEMPOTENCY):
                put(name, data, **options)  # the client library repeats a request whose answer it did not get
            return put(name, data, **options)

        api.store.put = twice  # type: ignore[method-assign]
        assert self.post(api, 1).status_code == 202
        assert len(api.topics.published) == 1

    def test_the_task_is_accepted_even_if_the_key_can_not_be_marked(self, api: Api) -> None:
        api.topics.hold = True
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.post, api, 1)
            until(lambda: bool(api.topics.requests))
            api.store.failure = storage_down()
            api.topics.release()
            assert answer.result(timeout=5).status_code == 202

    @pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
    def test_a_key_that_is_none_is_refused(self, api: Api, key: str) -> None:
        answer = self.post(api, 1, key)

        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == "Idempotency-Key"

    def test_the_simple_calls_honour_keys_too(self, api: Api) -> None:
        answers = [
            api.client.post("/submit-task", json={"task_type": "anything"}, headers={"Idempotency-Key": "k"}).json()
            for _ in range(2)
        ]
        assert answers[0] == answers[1]


class TestBatch:
    def test_each_task_has_its_answer_in_order(self, api: Api) -> None:
        tasks = [
            {"task_type": "anything", "payload": {"value": 1}},
            {"task_type": "nonsense"},
            {"task_type": "file_processing", "payload": {"filename": "../x"}},
            {"task_type": "anything", "queue": "urgent"},
        ]

        answer = api.client.post("/tasks:batch", json={"tasks": tasks})

        assert answer.status_code == 200
        assert (answer.json()["submitted"], answer.json()["rejected"]) == (2, 2)
        first, second, third, fourth = answer.json()["tasks"]
        assert [first["status"], fourth["status"]] == ["submitted", "submitted"]
        assert second["code"] == 422
        assert second["errors"][0]["field"] == "task_type"
        assert third["errors"][0]["field"] == "payload.filename"
        submitted = {message.message.attributes["task_id"]: message.topic for message in api.topics.published}
        assert submitted == {first["task_id"]: "poolhouse-default", fourth["task_id"]: "poolhouse-urgent"}

    def test_a_thousand_tasks_are_submitted_in_few_requests(self, api: Api) -> None:
        answer = api.client.post("/tasks:batch", json={"tasks": [{"task_type": "anything"}] * 1000})

        assert answer.json()["submitted"] == 1000
        assert len({task["task_id"] for task in answer.json()["tasks"]}) == 1000

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "tasks"),
            ({"tasks": {}}, "tasks"),
            ({"tasks": []}, "tasks"),
            ({"tasks": [{}] * 1001}, "tasks"),
            ({"tasks": [{"task_type": "anything"}, 3]}, "tasks.1"),
            ({"tasks": [{"task_type": "anything"}], "queue": "bulk"}, "queue"),
        ],
    )
    def test_a_batch_that_is_none_is_refused_as_a_whole(self, api: Api, body: dict[str, Any], field: str) -> None:
        answer = api.client.post("/tasks:batch", json=body)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field
        assert api.topics.published == []

    def test_a_queue_that_takes_nothing_is_503(self, api: Api) -> None:
        api.topics.down = True

        answer = api.client.post("/tasks:batch", json={"tasks": [{"task_type": "anything"}] * 3})

        assert answer.status_code == 503

    def test_a_wrong_task_is_reported_even_when_the_queue_is_down(self, api: Api) -> None:
        api.topics.down = True

        answer = api.client.post("/tasks:batch", json={"tasks": [{"task_type": "anything"}, {"task_type": "no"}]})

        assert [task["code"] for task in answer.json()["tasks"]] == [503, 422]


def storage_down() -> Exception:
    from poolhouse.pipeline.errors import StoreUnavailable

    return StoreUnavailable("storage did not answer: it is down")


class TestDelays:
    def test_a_delayed_task_is_scheduled_shown_and_can_be_cancelled(self, api: Api) -> None:
        answer = api.client.post("/tasks", json={"task_type": "anything", "delay_s": 86_400})
        assert answer.status_code == 202
        task_id = answer.json()["task_id"]
        assert answer.json() == {"task_id": task_id, "message_id": "", "status": "scheduled"}
        assert api.topics.published == []
        shown = api.client.get(f"/tasks/{task_id}").json()
        assert (shown["status"], shown["not_before"]) == ("scheduled", "2026-03-02T12:00:00Z")
        listed = api.client.get("/tasks", params={"status": "scheduled"}).json()["tasks"]
        assert [task["task_id"] for task in listed] == [task_id]
        assert api.client.post(f"/tasks/{task_id}:cancel").json()["status"] == "cancelled"

    def test_a_short_delay_is_in_the_message_and_the_record(self, api: Api) -> None:
        answer = api.client.post("/tasks", json={"task_type": "anything", "run_at": "2026-03-01T14:00:30+02:00"})
        [published] = api.topics.published
        assert answer.json()["message_id"] == published.message_id
        assert published.message.attributes["not_before"] == "2026-03-01T12:00:30.000Z"
        assert api.client.get(f"/tasks/{answer.json()['task_id']}").json()["status"] == "scheduled"

    @pytest.mark.parametrize("query", [{"delay_s": "3600"}, {"run_at": "2026-03-01T13:00:00Z"}])
    def test_the_simple_form_takes_the_time_beside_the_payload(self, api: Api, query: dict[str, str]) -> None:
        answer = api.client.post("/submit-task", params=query, json={"task_type": "anything", "value": 1})
        assert (answer.status_code, answer.json()["status"]) == (200, "scheduled")
        assert len(api.store.names(names.TIMERS)) == 1

    def test_a_batch_has_a_time_for_each_task(self, api: Api) -> None:
        tasks = [
            {"task_type": "anything"},
            {"task_type": "anything", "delay_s": 3600},
            {"task_type": "anything", "delay_s": -1},
        ]
        answer = api.client.post("/tasks:batch", json={"tasks": tasks}).json()
        assert [task["status"] for task in answer["tasks"]] == ["submitted", "scheduled", "rejected"]
        assert answer["tasks"][2]["errors"][0]["field"] == "delay_s"

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"delay_s": -1}, "delay_s"),
            ({"delay_s": "5"}, "delay_s"),
            ({"delay_s": True}, "delay_s"),
            ({"delay_s": 1e12}, "delay_s"),
            ({"delay_s": [1]}, "delay_s"),
            ({"run_at": "tomorrow"}, "run_at"),
            ({"run_at": "2026-03-01T14:00:30"}, "run_at"),
            ({"run_at": "9999-12-31T23:59:59-14:00"}, "run_at"),
            ({"run_at": "2099-01-01T00:00:00Z"}, "run_at"),
            ({"run_at": 5}, "run_at"),
            ({"run_at": "2026-03-01T14:00:30Z", "delay_s": 1}, "delay_s"),
        ],
    )
    def test_a_time_that_is_none_is_422_with_its_field(self, api: Api, fields: dict[str, Any], field: str) -> None:
        answer = api.client.post("/tasks", json={"task_type": "anything", **fields})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field
        assert (api.store.names(names.TIMERS), api.topics.published) == ((), [])

    def test_a_time_that_has_passed_means_at_once(self, api: Api) -> None:
        answer = api.client.post("/tasks", json={"task_type": "anything", "run_at": "2001-01-01T00:00:00Z"})
        assert answer.json()["status"] == "submitted"
        assert "not_before" not in api.topics.published[0].message.attributes

    def test_the_same_key_gives_the_same_delayed_task_and_another_time_is_another_body(self, api: Api) -> None:
        headers = {"Idempotency-Key": "k"}
        body = {"task_type": "anything", "delay_s": 3600}
        first = api.client.post("/tasks", json=body, headers=headers)
        api.clock.forward(5)
        second = api.client.post("/tasks", json=body, headers=headers)
        assert first.json() == second.json()
        assert len(api.store.names(names.TIMERS)) == 1
        assert api.client.post("/tasks", json={**body, "delay_s": 60}, headers=headers).status_code == 409

    def test_storage_that_is_down_refuses_a_long_delay_and_a_plain_submit_makes_no_storage_call(self, api: Api) -> None:
        api.submit()
        calls = api.store.calls
        api.submit()
        assert api.store.calls == calls
        api.store.failure = storage_down()
        assert api.client.post("/tasks", json={"task_type": "anything", "delay_s": 3600}).status_code == 503


class TestRefusedKeys:
    def test_a_task_too_large_leaves_its_key_free(self, api: Api) -> None:
        headers = {"Idempotency-Key": "k"}
        large = {"task_type": "anything", "payload": {"value": "x" * 19_999_930}}
        assert api.client.post("/tasks", json=large, headers=headers).status_code == 413
        assert api.client.post("/tasks", json={"task_type": "anything"}, headers=headers).status_code == 202

    def test_a_task_that_pubsub_refuses_leaves_its_key_free(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        headers = {"Idempotency-Key": "k"}
        with monkeypatch.context() as patched:
            patched.setattr(api.topics, "publish", _refuse)
            assert api.client.post("/tasks", json={"task_type": "anything"}, headers=headers).status_code == 422
        other = {"task_type": "anything", "payload": {"value": 2}}
        first = api.client.post("/tasks", json=other, headers=headers)
        assert first.status_code == 202
        assert api.client.post("/tasks", json=other, headers=headers).json() == first.json()
        assert len(api.topics.published) == 1


def _refuse(topic: str, messages: Any, *, timeout_s: float) -> Future[Any]:
    refused: Future[Any] = Future()
    refused.set_exception(MessageRefused("an attribute is too long"))
    return refused
