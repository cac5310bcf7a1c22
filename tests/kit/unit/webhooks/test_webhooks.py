"""Completion webhooks, from the submit to a receiver on loopback; on both levels of one process."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.testing.pipeline import Pipeline
from tests.kit.push_endpoint import Endpoint, Received, open_endpoint
from tests.kit.unit.levels import pipeline_file, pipeline_level
from tests.kit.unit.webhooks import webhook_handlers
from tests.kit.unit.webhooks.conftest import Resolving

__all__ = ["pipeline_file", "pipeline_level"]

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two characters").decode()
PIPELINE = """
[secrets]
WEBHOOK_SECRET = "latest"
[webhooks]
secret = "WEBHOOK_SECRET"
allow_private = ["127.0.0.1"]
max_attempts = 4
[queues.default]
retry_min_backoff_s = 1
retry_max_backoff_s = 2
"""


@pytest.fixture(scope="session")
def pipeline_text() -> str:
    return PIPELINE


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    return (webhook_handlers.__name__,)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    webhook_handlers.mended.clear()


@pytest.fixture
def receiver() -> Iterator[Endpoint]:
    with open_endpoint() as endpoint:
        yield endpoint


def post(pipeline: Pipeline, path: str, body: Any = None) -> Any:
    return requests.post(f"{pipeline.api_url}{path}", json=body, timeout=10)


def submit(pipeline: Pipeline, task_type: str, url: str, *, payload: Any = None, **options: Any) -> str:
    body = {"task_type": task_type, "payload": payload or {}, "webhook_url": url, **options}
    answer = post(pipeline, "/tasks", body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def record(pipeline: Pipeline, task_id: str) -> TaskRecord:
    stored = RecordStore(pipeline.store).read(task_id)
    assert stored is not None
    return stored.record


def verified(request: Received) -> dict[str, Any]:
    event: dict[str, Any] = Webhook(SECRET).verify(request.body, request.headers)
    return event


def ids(receiver: Endpoint) -> list[str]:
    return [request.headers["webhook-id"] for request in receiver.requests]


def test_a_task_that_succeeds_is_told_with_its_result_and_a_signature(pipeline: Pipeline, receiver: Endpoint) -> None:
    task_id = submit(pipeline, "ship", receiver.url, payload={"number": 7})
    pipeline.run_until_idle()
    [request] = receiver.requests
    event = verified(request)
    assert request.headers["content-type"] == "application/json"
    assert event["type"] == "task.succeeded"
    assert event["timestamp"] == event["data"].pop("ended_at")
    assert event["data"].pop("submitted_at") <= event["timestamp"]
    assert event["data"] == {
        "task_id": task_id,
        "task_type": "ship",
        "queue": "default",
        "status": "succeeded",
        "result": "order 7 is on its way",
    }
    delivery = record(pipeline, request.headers["webhook-id"])
    assert (delivery.task_type, delivery.status, delivery.result) == ("poolhouse.webhook", "succeeded", {"status": 200})


def test_a_large_result_is_told_by_its_size(pipeline: Pipeline, receiver: Endpoint) -> None:
    submit(pipeline, "ship", receiver.url, payload={"characters": 100_000})
    pipeline.run_until_idle()
    [request] = receiver.requests
    assert verified(request)["data"]["result_bytes"] == 100_002
    assert len(request.body) < 1000


@pytest.mark.parametrize(
    ("task_type", "status", "error"),
    [
        ("refuse", "failed", {"type": "Reject", "message": "no such order"}),
        ("once_broken", "dead", {"type": "ConnectionError", "message": "the warehouse is closed"}),
    ],
)
def test_a_task_that_fails_for_good_is_told_with_its_error_and_no_traceback(
    pipeline: Pipeline, receiver: Endpoint, task_type: str, status: str, error: dict[str, str]
) -> None:
    submit(pipeline, task_type, receiver.url)
    pipeline.run_until_idle()
    [request] = receiver.requests
    data = verified(request)["data"]
    assert (data["status"], data["error"]) == (status, error)
    assert data["reason"]


def test_a_task_without_a_record_is_told_too(pipeline: Pipeline, receiver: Endpoint) -> None:
    submit(pipeline, "ship_unrecorded", receiver.url, payload={"number": 3})
    pipeline.run_until_idle()
    assert [verified(request)["data"]["result"] for request in receiver.requests] == [3]


@pytest.mark.parametrize("options", [{}, {"delay_s": 60}, {"delay_s": 86_400}])
def test_a_task_cancelled_before_it_ran_is_told_once(
    pipeline: Pipeline, receiver: Endpoint, options: dict[str, Any]
) -> None:
    task_id = submit(pipeline, "ship", receiver.url, **options)
    assert post(pipeline, f"/tasks/{task_id}:cancel").json()["status"] == "cancelled"
    pipeline.clock.advance("2 days")
    pipeline.run_until_idle()
    [request] = receiver.requests
    event = verified(request)
    assert (event["type"], event["data"]["task_id"]) == ("task.cancelled", task_id)


def test_a_receiver_that_fails_gets_the_event_again_under_the_same_id(pipeline: Pipeline, receiver: Endpoint) -> None:
    receiver.answer = lambda _: 500 if len(receiver.requests) < 3 else 204
    submit(pipeline, "ship", receiver.url)
    pipeline.run_until_idle()
    pipeline.clock.advance("1 hour")
    pipeline.run_until_idle()
    assert len(receiver.requests) == 3
    assert len(set(ids(receiver))) == len({request.body for request in receiver.requests}) == 1
    assert [attempt.error and attempt.error.message for attempt in record(pipeline, ids(receiver)[0]).attempts] == [
        *["127.0.0.1 answered 500: thanks"] * 2,
        None,
    ]


def test_an_event_that_can_not_be_delivered_is_a_dead_letter_of_its_own_and_can_be_replayed(
    pipeline: Pipeline, receiver: Endpoint
) -> None:
    receiver.answer = lambda _: 500
    task_id = submit(pipeline, "ship", receiver.url)
    pipeline.clock.advance("2 days")
    pipeline.run_until_idle()
    assert len(receiver.requests) == 4
    letter = pipeline.assert_dead_lettered(reason="all 4 attempts used up")
    assert letter.task_type == "poolhouse.webhook"
    assert record(pipeline, task_id).status is Status.SUCCEEDED
    receiver.answer = lambda _: 200
    assert post(pipeline, f"/dead-letters/{letter.task_id}:replay").status_code == 200
    pipeline.run_until_idle()
    assert set(ids(receiver)) == {letter.task_id}
    assert record(pipeline, letter.task_id).status is Status.SUCCEEDED


def test_a_receiver_that_wants_no_more_is_not_asked_again(pipeline: Pipeline, receiver: Endpoint) -> None:
    receiver.answer = lambda _: 410
    submit(pipeline, "ship", receiver.url)
    pipeline.clock.advance("2 days")
    pipeline.assert_dead_lettered(reason="wants no more")
    assert len(receiver.requests) == 1


def test_a_name_that_leads_to_an_address_that_is_not_allowed_is_refused_when_it_is_called(
    pipeline: Pipeline, receiver: Endpoint, resolving: Resolving
) -> None:
    resolving("harmless.test", ["127.0.0.2"])
    submit(pipeline, "ship", receiver.url.replace("http://127.0.0.1", "https://harmless.test"))
    pipeline.run_until_idle()
    pipeline.assert_dead_lettered(reason="private address")
    assert receiver.connections == 0


def test_a_secret_that_is_not_set_is_told_in_the_attempt(
    pipeline: Pipeline, receiver: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "")
    submit(pipeline, "ship", receiver.url)
    pipeline.clock.advance("2 days")
    pipeline.assert_dead_lettered(reason="the variable WEBHOOK_SECRET, which signs webhooks, is empty")
    assert receiver.connections == 0


def test_another_life_of_a_task_is_another_event(pipeline: Pipeline, receiver: Endpoint) -> None:
    task_id = submit(pipeline, "once_broken", receiver.url)
    pipeline.run_until_idle()
    for mended in (False, True):
        webhook_handlers.mended[:] = [True] if mended else []
        assert post(pipeline, f"/dead-letters/{task_id}:replay").status_code == 200
        pipeline.run_until_idle()
    assert [verified(request)["type"] for request in receiver.requests] == ["task.dead", "task.dead", "task.succeeded"]
    assert len(set(ids(receiver))) == 3


def test_a_dead_letter_that_is_discarded_is_no_new_end(pipeline: Pipeline, receiver: Endpoint) -> None:
    pipeline.faults.duplicate("default")
    task_id = submit(pipeline, "refuse", receiver.url)
    pipeline.run_until_idle()
    assert post(pipeline, f"/dead-letters/{task_id}:discard").status_code == 204
    pipeline.run_until_idle()
    assert len(set(ids(receiver))) == 1


@pytest.mark.parametrize("task_type", ["ship", "refuse"])
def test_wherever_a_worker_dies_there_is_one_event_and_it_is_told(
    pipeline: Pipeline, receiver: Endpoint, task_type: str
) -> None:
    turns = 0
    for turn in pipeline.crash_points():
        turns += 1
        with turn:
            receiver.requests.clear()
            submit(pipeline, task_type, receiver.url)
            pipeline.run_until_idle()
            assert 1 <= len(receiver.requests) <= 2
            assert len(set(ids(receiver))) == 1
            assert {verified(request)["data"]["task_type"] for request in receiver.requests} == {task_type}
    assert turns >= 10


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (7, "must be a string"),
        ("shop.example", "must be a URL"),
        ("http://shop.example/", "must begin with https://, unless [webhooks] allow_private lists the host"),
        ("https://10.0.0.1/", "private address"),
        ("https://user:word@shop.example/", "user name or password"),
    ],
)
def test_a_url_that_can_not_be_is_refused_with_the_field(pipeline: Pipeline, url: Any, told: str) -> None:
    body = {"task_type": "ship", "payload": {}, "webhook_url": url}
    answer = post(pipeline, "/tasks", body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == "webhook_url"
    assert told in error["message"]
    batch = post(pipeline, "/tasks:batch", {"tasks": [body, {**body, "webhook_url": None}]}).json()
    assert [entry["status"] for entry in batch["tasks"]] == ["rejected", "submitted"]
    if isinstance(url, str):
        flat = requests.post(
            f"{pipeline.api_url}/submit-task", params={"webhook_url": url}, json={"task_type": "ship"}, timeout=10
        )
        assert flat.json()["errors"][0]["field"] == "webhook_url"


def test_the_task_type_that_delivers_can_not_be_submitted(pipeline: Pipeline, receiver: Endpoint) -> None:
    body = {"task_type": "poolhouse.webhook", "payload": {"url": receiver.url, "event": {"type": "forged"}}}
    answer = post(pipeline, "/tasks", body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "task_type")
    document = requests.get(f"{pipeline.api_url}/openapi.json", timeout=10).text
    assert "poolhouse.webhook" not in document
    assert "webhook_url" in document


def test_the_same_key_with_another_webhook_is_another_request(pipeline: Pipeline, receiver: Endpoint) -> None:
    def answer(url: str | None) -> int:
        body = {"task_type": "ship", "payload": {}, "webhook_url": url}
        sent = requests.post(f"{pipeline.api_url}/tasks", json=body, headers={"Idempotency-Key": "k"}, timeout=10)
        return sent.status_code

    assert [answer(receiver.url), answer(receiver.url), answer(None)] == [202, 202, 409]


def test_the_declaration_and_handlers_are_checked(tmp_path_factory: pytest.TempPathFactory) -> None:
    from poolhouse.pipeline.config import topology

    def told(table: str, secrets: str = '[secrets]\nS = "latest"\n') -> str:
        with pytest.raises(ConfigError) as raised:
            topology.parse(f"[queues.default]\n{secrets}[webhooks]\n{table}\n")
        return str(raised.value)

    assert "webhooks.secret" in told('secret = "OTHER"')
    assert "webhooks.queue" in told('secret = "S"\nqueue = "none"')
    assert "pipeline.toml:6: webhooks.timeout_s" in told('secret = "S"\ntimeout_s = 0')
    assert "unknown field (allowed: secret, queue, allow_private" in told('secret = "S"\nretries = 1')
