"""Dead letters over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter import Kept
from poolhouse.pipeline.tasks.dead_letter_attributes import MESSAGE_ID, PUBLISHED_AT, REASON
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.records import ErrorInfo, Status
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.tasks.transitions import Run
from tests.kit.unit.api.conftest import Api, application, settings


def fail(api: Api, task_id: str) -> None:
    """What a worker does whose handler fails for good."""
    task = TaskMessage(task_id=task_id, task_type="anything", submitted_at=api.clock(), queue="default", payload={})
    decided = transitions.claim(None, task, owner="o", worker="host-17", now=api.clock(), lease_s=30, max_attempts=5)
    assert isinstance(decided, Run)
    error = ErrorInfo(type="ValueError", message="no such row", traceback='File "/srv/app/secret.py", line 3')
    failed = transitions.failed(decided.record, error=error, now=api.clock(), reason="no such row")
    api.records.write(failed, if_generation=ABSENT)


def bury(api: Api, *, data: bytes | None = None, attempted: bool = False, **body: Any) -> str:
    """Submit a task and let it die, perhaps after an attempt; its id."""
    task_id = api.submit(**body)
    if attempted:
        fail(api, task_id)
    message = api.topics.published[-1].message
    box = DeadLetterStore(api.store, queues=tuple(api.settings.topology.by_name), task_ids=load_task_ids(api.store))
    attributes = {
        **message.attributes,
        REASON: "it would not work",
        MESSAGE_ID: "17",
        PUBLISHED_AT: api.clock().isoformat(),
    }
    verdict = box.keep("default", data or message.data, attributes, message_id="18", now=api.clock())
    assert verdict.kept is Kept.KEPT
    return task_id


def test_a_listing_shows_type_queue_and_reason(api: Api) -> None:
    task_id = bury(api)

    page = api.client.get("/dead-letters").json()

    [letter] = page["dead_letters"]
    assert (letter["task_id"], letter["task_type"], letter["queue"]) == (task_id, "anything", "default")
    assert letter["reason"] == "it would not work"
    assert page["next_page_token"] is None
    assert api.client.get("/dead-letters?queue=bulk").json()["dead_letters"] == []
    assert api.client.get("/dead-letters?queue=nonsense").status_code == 422


def test_one_dead_letter_has_the_original_message(api: Api) -> None:
    task_id = bury(api, value=5)

    letter = api.client.get(f"/dead-letters/{task_id}").json()

    assert json.loads(letter["data"])["value"] == 5
    assert letter["message_id"] == "17"
    assert api.client.get(f"/tasks/{task_id}").json()["status"] == "dead"


def test_a_replay_gives_the_same_task_a_new_life(api: Api) -> None:
    task_id = bury(api, value=5)

    answer = api.client.post(f"/dead-letters/{task_id}:replay")

    assert answer.json() == {"task_id": task_id, "message_id": "2", "status": "queued"}
    assert api.topics.published[-1].topic == "poolhouse-default"
    assert json.loads(api.topics.published[-1].message.data) == json.loads(api.topics.published[0].message.data)
    assert api.client.get(f"/tasks/{task_id}").json()["status"] == "queued"
    assert api.client.get("/dead-letters").json()["dead_letters"] == []
    assert api.client.post(f"/dead-letters/{task_id}:replay").status_code == 404


def test_a_replay_may_have_another_payload(api: Api) -> None:
    task_id = bury(api, value=5)

    assert api.client.post(f"/dead-letters/{task_id}:replay", json={"payload": {"value": 6}}).status_code == 200

    body = json.loads(api.topics.published[-1].message.data)
    assert (body["task_id"], body["value"]) == (task_id, 6)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"payload": {"valeu": 6}}, "payload.valeu"),
        ({"payload": {"task_id": "mine"}}, "payload.task_id"),
        ({"payload": [6]}, "payload"),
        ({"value": 6}, "value"),
    ],
)
def test_a_replay_with_a_wrong_payload_changes_nothing(api: Api, body: dict[str, Any], field: str) -> None:
    task_id = bury(api)

    answer = api.client.post(f"/dead-letters/{task_id}:replay", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert len(api.topics.published) == 1
    assert api.client.get(f"/dead-letters/{task_id}").status_code == 200


def test_a_replay_while_the_queue_is_down_is_503_and_can_be_repeated(api: Api) -> None:
    task_id = bury(api)
    api.topics.down = True
    assert api.client.post(f"/dead-letters/{task_id}:replay").status_code == 503

    api.topics.down = False
    assert api.client.post(f"/dead-letters/{task_id}:replay").status_code == 200


def test_a_discarded_task_stays_failed(api: Api) -> None:
    task_id = bury(api)

    answer = api.client.post(f"/dead-letters/{task_id}:discard")

    assert (answer.status_code, answer.content) == (204, b"")
    assert api.client.get(f"/dead-letters/{task_id}").status_code == 404
    assert api.client.get(f"/tasks/{task_id}").json()["status"] == Status.FAILED


def test_a_bucket_that_is_down_is_503(api: Api) -> None:
    task_id = bury(api)
    api.store.failure = StoreUnavailable("it is down")

    for method, path in (
        ("GET", "/dead-letters"),
        ("GET", f"/dead-letters/{task_id}"),
        ("POST", f"/dead-letters/{task_id}:replay"),
        ("POST", f"/dead-letters/{task_id}:discard"),
    ):
        assert api.client.request(method, path).status_code == 503


@pytest.mark.parametrize("shown", [False, True])
def test_what_tells_of_the_inside_is_shown_on_a_developers_own_stack_alone(api: Api, shown: bool) -> None:
    task_id = bury(api, attempted=True)
    environment = settings(show_tracebacks=shown)

    with TestClient(application(api.store, api.topics, api.clock, environment=environment)) as client:
        text = client.get(f"/dead-letters/{task_id}").text

    assert "no such row" in text
    assert ("secret.py" in text, "host-17" in text) == (shown, shown)


def test_a_replay_with_another_payload_makes_its_values_once(api: Api) -> None:
    task_id = bury(api, task_type="stamped", label="a")

    assert api.client.post(f"/dead-letters/{task_id}:replay", json={"payload": {"label": "b"}}).status_code == 200

    sent = json.loads(api.topics.published[-1].message.data)
    stored = api.records.read(task_id)
    assert stored is not None
    assert stored.record.payload == {"label": "b", "stamp": sent["stamp"]}
