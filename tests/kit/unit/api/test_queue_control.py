"""Queues paused, resumed and purged over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from poolhouse.pipeline import names
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.tasks.records import Status
from tests.kit.unit.api.conftest import Api


def paused(api: Api) -> dict[str, Any]:
    return {queue["name"]: queue["paused_at"] for queue in api.client.get("/queues").json()["queues"]}


def test_a_paused_queue_says_since_when(api: Api) -> None:
    at = api.client.post("/queues/bulk:pause").json()["paused_at"]
    assert at.startswith("2026-03-01T12:00:00")
    api.clock.forward(60)
    assert api.client.post("/queues/bulk:pause").json() == {"name": "bulk", "paused_at": at}
    states = paused(api)
    assert states["bulk"] == at
    assert states["default"] is None


def test_a_resumed_queue_runs(api: Api) -> None:
    api.client.post("/queues/bulk:pause")
    assert api.client.post("/queues/bulk:resume").json() == {"name": "bulk", "paused_at": None}
    assert set(paused(api).values()) == {None}


def test_a_pause_is_one_write_and_a_submit_to_a_paused_queue_is_none(api: Api) -> None:
    api.client.post("/queues/default:pause")
    api.client.post("/queues/default:pause")
    api.submit(value=1)
    assert [name for name in api.store.writes if name != names.TASK_ID_KEY] == [names.QUEUE_CONTROL]
    assert len(api.topics.published) == 1


@pytest.mark.parametrize("verb", ["pause", "resume", "purge"])
def test_an_unknown_queue_is_404_with_the_known_ones(api: Api, verb: str) -> None:
    answer = api.client.post(f"/queues/nope:{verb}")
    assert answer.status_code == 404
    assert "default" in answer.json()["error"]


def test_a_bucket_that_is_down_is_503(api: Api) -> None:
    api.store.failure = StoreUnavailable("down")
    answer = api.client.post("/queues/default:pause")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


def test_decisions_that_cannot_be_read_are_a_conflict_that_says_what_to_do(api: Api) -> None:
    api.store.put(names.QUEUE_CONTROL, b"no JSON")
    for answer in (api.client.post("/queues/default:pause"), api.client.get("/queues")):
        assert answer.status_code == 409
        assert "delete the object" in answer.json()["error"]


def test_a_purge_cancels_delayed_tasks_at_once_and_leaves_an_order_for_waiting_ones(api: Api) -> None:
    body = {"task_type": "anything", "delay_s": 86_400}
    delayed = api.client.post("/tasks", json=body).json()["task_id"]
    other = api.client.post("/tasks", json={**body, "queue": "bulk"}).json()["task_id"]
    api.clock.forward(1)
    answer = api.client.post("/queues/default:purge")
    assert answer.status_code == 200
    assert (answer.json()["matched"], answer.json()["cancelled"], answer.json()["next_page_token"]) == (1, 1, None)
    task = api.client.get(f"/tasks/{delayed}").json()
    assert (task["status"], task["reason"]) == ("cancelled", "queue default was purged")
    assert api.client.get(f"/tasks/{other}").json()["status"] == "scheduled"
    assert len(api.store.names(names.TIMERS)) == 1
    [order] = ControlStore(api.store).read().control.orders
    assert (order.queue, order.before, order.status) == (
        "default",
        api.clock.now,
        {Status.QUEUED, Status.SCHEDULED},
    )


def test_a_dry_run_of_a_purge_changes_nothing(api: Api) -> None:
    task_id = api.client.post("/tasks", json={"task_type": "anything", "delay_s": 86_400}).json()["task_id"]
    api.clock.forward(1)
    before = api.written
    answer = api.client.post("/queues/default:purge", json={"dry_run": True}).json()
    assert (answer["matched"], answer["cancelled"], answer["samples"][0]["task_id"]) == (1, 0, task_id)
    assert api.written == before


def test_a_purge_takes_no_filter(api: Api) -> None:
    answer = api.client.post("/queues/default:purge", json={"task_type": "anything"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": "task_type", "message": "there is no such field"}]
