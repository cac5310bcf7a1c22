"""Bulk calls: cancel tasks, replay and discard dead letters, by filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.api.backlog import Backlog, BacklogUnavailable
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.index import task_index
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import REASON
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from tests.kit.unit.api.conftest import Api, application, settings


def recorded(api: Api, status: Status, *, task_type: str = "anything", queue: str = "default") -> str:
    """A task in a status, submitted now; its id."""
    now = api.clock.now
    task_id = load_task_ids(api.store).new(now)
    task = TaskMessage(task_id=task_id, task_type=task_type, submitted_at=now, queue=queue, payload={})
    if status is Status.SCHEDULED:
        task = replace(task, not_before=now + timedelta(days=1))
    record = transitions.fresh(task, now=now)
    if status not in {Status.QUEUED, Status.SCHEDULED}:
        decision = transitions.claim(None, task, owner="o", worker="w", now=now, lease_s=3600, max_attempts=3)
        assert isinstance(decision, transitions.Run)
        record = decision.record
    if status is Status.SUCCEEDED:
        record = transitions.succeeded(record, now=now)
    api.records.write(record, if_generation=ABSENT)
    return task_id


def record(api: Api, task_id: str) -> TaskRecord:
    stored = api.records.read(task_id)
    assert stored is not None
    return stored.record


def bury(api: Api, *, reason: str = "it broke", value: int = 0, queue: str = "default") -> str:
    answer = api.client.post("/tasks", json={"task_type": "anything", "payload": {"value": value}, "queue": queue})
    published = api.topics.published.pop()
    box = DeadLetterStore(api.store, queues=("urgent", "default", "bulk"), task_ids=load_task_ids(api.store))
    attributes = {**published.message.attributes, REASON: reason}
    box.keep(queue, published.message.data, attributes, message_id="1", now=api.clock.now)
    return str(answer.json()["task_id"])


def cancel(api: Api, **body: Any) -> Any:
    answer = api.client.post("/tasks:cancel", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_has_not_ended_is_cancelled_and_what_runs_is_notified(api: Api) -> None:
    ids = {status: recorded(api, status) for status in (Status.SCHEDULED, Status.QUEUED, Status.RUNNING)}
    done = recorded(api, Status.SUCCEEDED)
    api.clock.forward(1)
    answer = cancel(api, all=True)
    assert {name: answer[name] for name in ("matched", "cancelled", "notified", "skipped")} == {
        "matched": 3,
        "cancelled": 2,
        "notified": 1,
        "skipped": 0,
    }
    assert record(api, ids[Status.SCHEDULED]).status is Status.CANCELLED
    assert record(api, ids[Status.QUEUED]).status is Status.CANCELLED
    assert record(api, ids[Status.RUNNING]).cancel_requested_at is not None
    assert record(api, done).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("chosen", "meant"),
    [
        ({"status": ["scheduled"]}, {"scheduled"}),
        ({"status": ["queued", "running"]}, {"queued", "running", "other", "bulk"}),
        ({"task_type": "stamped"}, {"other"}),
        ({"queue": "bulk"}, {"bulk"}),
        ({"queue": "bulk", "task_type": "stamped"}, set()),
        ({"submitted_before": "2026-03-01T12:00:30Z"}, {"queued", "running", "scheduled"}),
        ({"submitted_after": "2026-03-01T12:00:30Z"}, {"other", "bulk"}),
    ],
)
def test_filters_choose(api: Api, chosen: dict[str, Any], meant: set[str]) -> None:
    ids = {status.value: recorded(api, status) for status in (Status.SCHEDULED, Status.QUEUED, Status.RUNNING)}
    api.clock.forward(60)
    ids["other"] = recorded(api, Status.QUEUED, task_type="stamped")
    ids["bulk"] = recorded(api, Status.QUEUED, queue="bulk")
    api.clock.forward(60)
    assert cancel(api, **chosen)["matched"] == len(meant)
    touched = {name for name, task_id in ids.items() if record(api, task_id).updated_at == api.clock.now}
    assert touched == meant


def test_a_dry_run_counts_and_shows_and_changes_nothing(api: Api) -> None:
    for _ in range(12):
        recorded(api, Status.QUEUED)
    api.clock.forward(1)
    before = api.written
    answer = cancel(api, task_type="anything", dry_run=True)
    assert (answer["matched"], answer["cancelled"], len(answer["samples"])) == (12, 0, 10)
    assert answer["samples"][0]["status"] == "queued"
    assert api.written == before


def test_pages_go_on_where_the_last_one_ended_and_mean_what_the_first_one_meant(api: Api) -> None:
    ids = [recorded(api, Status.QUEUED) for _ in range(5)]
    api.clock.forward(1)
    answer = cancel(api, all=True, page_size=2)
    api.clock.forward(1)
    late = recorded(api, Status.QUEUED)
    api.clock.forward(1)
    pages = [answer]
    while answer["next_page_token"]:
        answer = cancel(api, all=True, page_size=2, page_token=answer["next_page_token"])
        pages.append(answer)
    assert sum(page["cancelled"] for page in pages) == 5
    assert len(pages) >= 3
    assert {record(api, task_id).status for task_id in ids} == {Status.CANCELLED}
    assert record(api, late).status is Status.QUEUED
    assert len(ControlStore(api.store).read().control.orders) == 1


def test_a_page_that_broke_off_is_called_again_and_the_rest_is_done(api: Api) -> None:
    ids = []
    for _ in range(4):
        ids.append(recorded(api, Status.QUEUED))
        api.clock.forward(1)
    token = cancel(api, all=True, page_size=1)["next_page_token"]
    body = {"all": True, "page_token": token}

    def breaks(name: str) -> None:
        if name == f"tasks/{ids[0]}.json,claim":  # the oldest, which comes last
            raise StoreUnavailable("gone for a moment")

    api.store.before_write = breaks
    assert api.client.post("/tasks:cancel", json=body).status_code == 503
    api.store.before_write = lambda _: None
    assert cancel(api, **body)["next_page_token"] is None
    assert {record(api, task_id).status for task_id in ids} == {Status.CANCELLED}


def test_a_task_that_starts_meanwhile_is_not_cancelled_as_a_queued_one(api: Api) -> None:
    task_id = recorded(api, Status.QUEUED)
    api.clock.forward(1)

    def start(name: str) -> None:
        if not name.startswith("tasks/"):
            return
        api.store.before_write = lambda _: None
        stored = api.records.read(task_id)
        assert stored is not None
        claimed = transitions.claim(
            stored.record,
            transitions.message_of(stored.record),
            owner="o",
            worker="w",
            now=api.clock.now,
            lease_s=60,
            max_attempts=3,
        )
        assert isinstance(claimed, transitions.Run)
        api.records.write(claimed.record, if_generation=stored.generation)

    api.store.before_write = start
    assert cancel(api, status=["queued"])["skipped"] == 1
    assert record(api, task_id).status is Status.RUNNING
    assert record(api, task_id).cancel_requested_at is None


def test_running_ones_alone_need_no_order(api: Api) -> None:
    recorded(api, Status.RUNNING)
    api.clock.forward(1)
    answer = cancel(api, status=["running"])
    assert answer["notified"] == 1
    assert answer["waiting"] is None
    assert ControlStore(api.store).read().control.orders == ()


def test_a_task_that_no_worker_has_touched_is_left_to_the_workers(api: Api) -> None:
    task_id = api.submit(value=1)
    api.clock.forward(1)
    before = api.written
    assert cancel(api, task_type="anything")["matched"] == 0
    assert len(api.written) == len(before) + 1
    message = api.topics.published[-1].message
    [order] = ControlStore(api.store).read().control.orders
    task = TaskMessage(
        task_id=task_id,
        task_type=message.attributes["task_type"],
        submitted_at=api.clock.now - timedelta(seconds=1),
        queue="default",
        payload={},
    )
    assert order.concerns(task)


def test_a_task_that_a_worker_began_a_moment_ago_is_notified_though_the_index_has_it_waiting(api: Api) -> None:
    ids = [api.submit(value=value) for value in range(3)]
    assert api.client.get("/tasks?status=queued&count=true").json()["total"] == 3
    task = TaskMessage(task_id=ids[1], task_type="anything", submitted_at=api.clock.now, queue="default", payload={})
    begun = transitions.claim(None, task, owner="o", worker="w", now=api.clock.now, lease_s=60, max_attempts=3)
    assert isinstance(begun, transitions.Run)
    api.records.write(begun.record, if_generation=ABSENT)  # as another process does
    api.clock.forward(1)
    answer = cancel(api, all=True)
    assert (answer["matched"], answer["notified"]) == (1, 1)
    assert record(api, ids[1]).cancel_requested_at is not None


def test_of_many_that_wait_the_oldest_are_looked_up_by_the_first_call(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_index, "LOOKED_UP", 10)
    for value in range(40):
        api.submit(value=value)
        api.clock.forward(1)
    recorded(api, Status.RUNNING)
    recorded(api, Status.RUNNING)
    api.clock.forward(1)
    api.client.get("/tasks")  # loads the index
    calls = api.store.calls
    token = cancel(api, all=True, page_size=1, dry_run=True)["next_page_token"]
    first, calls = api.store.calls - calls, api.store.calls
    assert cancel(api, all=True, page_size=1, dry_run=True, page_token=token)["next_page_token"] is None
    assert first <= 3 * 10 + 2
    assert api.store.calls - calls <= 1


def test_a_page_lists_no_records_however_many_there_are(api: Api) -> None:
    for _ in range(200):
        recorded(api, Status.QUEUED)
    api.clock.forward(1)
    api.client.get("/tasks")  # loads the index
    listed = api.store.lists
    assert cancel(api, all=True, page_size=20)["cancelled"] == 20
    assert api.store.lists - listed <= 1  # of the index, once a second at the most


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"dry_run": True}, "body"),
        ({"status": ["succeeded"]}, "status.0"),
        ({"queue": "nope"}, "queue"),
        ({"older": "1h"}, "older"),
        ({"submitted_before": "yesterday"}, "submitted_before"),
        ({"submitted_before": "2026-03-01T12:00:00"}, "submitted_before"),
        ({"all": True, "page_size": 0}, "page_size"),
        ({"all": True, "page_size": "1_0"}, "page_size"),
        ({"all": True, "page_size": True}, "page_size"),
        ({"all": "yes"}, "all"),
        ({"all": 1}, "all"),
        ({"all": True, "dry_run": "off"}, "dry_run"),
        ({"all": True, "dry_run": 0}, "dry_run"),
        ({"all": True, "page_size": 1001}, "page_size"),
    ],
)
def test_bad_input_is_a_422_that_names_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api.client.post("/tasks:cancel", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert ControlStore(api.store).read().control.orders == ()


@pytest.mark.parametrize("token", ["", "x", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z ../x", "soon abc"])
def test_a_token_of_something_else_is_refused(api: Api, token: str) -> None:
    answer = api.client.post("/tasks:cancel", json={"all": True, "page_token": token})
    assert answer.status_code == 422
    assert "page_token" in answer.json()["error"]
    assert ControlStore(api.store).read().control.orders == ()


class _Figures:
    """Every queue has ten messages, three of them in flight."""

    def __init__(self) -> None:
        self.unknown = False

    def look(self, queue: Queue) -> Backlog:
        if self.unknown:
            raise BacklogUnavailable("no answer")
        return Backlog(backlog=10, in_flight=3)


@pytest.fixture
def figures(api: Api) -> Iterator[tuple[_Figures, TestClient]]:
    source = _Figures()
    with TestClient(application(api.store, api.topics, api.clock, environment=settings(), backlog=source)) as client:
        yield source, client


def test_how_many_messages_wait_is_told_where_it_is_known(figures: tuple[_Figures, TestClient]) -> None:
    source, client = figures
    assert client.post("/queues/default:purge", json={"dry_run": True}).json()["waiting"] == 7
    assert client.post("/tasks:cancel", json={"all": True, "dry_run": True}).json()["waiting"] == 21
    source.unknown = True
    assert client.post("/tasks:cancel", json={"all": True, "dry_run": True}).json()["waiting"] is None


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_dead_letters_are_taken_by_filter_page_by_page(api: Api, verb: str) -> None:
    meant = [bury(api, reason="TIMEOUT after 3 s", value=value) for value in range(5)]
    other = bury(api, reason="no such file")
    body: dict[str, Any] = {"reason": "timeout", "page_size": 2}
    first = api.client.post(f"/dead-letters:{verb}", json={**body, "dry_run": True}).json()
    assert (first["matched"], first["done"]) == (2, 0)
    done, token = 0, None
    while True:
        page = api.client.post(f"/dead-letters:{verb}", json={**body, "page_token": token}).json()
        done, token = done + page["done"], page["next_page_token"]
        if token is None:
            break
    assert done == 5
    left = [letter["task_id"] for letter in api.client.get("/dead-letters").json()["dead_letters"]]
    assert left == [other]
    expected = Status.QUEUED if verb == "replay" else Status.FAILED
    assert {record(api, task_id).status for task_id in meant} == {expected}


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ({"task_type": "anything"}, 2),
        ({"task_type": "stamped"}, 0),
        ({"queue": "bulk"}, 1),
        ({"reason": "DISK"}, 1),
        ({"died_before": "2026-03-01T12:00:30Z"}, 1),
        ({"died_after": "2026-03-01T12:00:30Z", "reason": "disk"}, 1),
    ],
)
def test_the_listing_takes_the_same_filters(api: Api, query: dict[str, str], meant: int) -> None:
    bury(api, queue="bulk")
    api.clock.forward(60)
    bury(api, reason="disk full")
    listed = api.client.get("/dead-letters", params=query).json()["dead_letters"]
    bulk = api.client.post("/dead-letters:discard", json={**query, "dry_run": True}).json()
    assert len(listed) == bulk["matched"] == meant


def test_a_letter_that_another_call_deals_with_is_skipped(api: Api) -> None:
    first, second = bury(api, value=1), bury(api, value=2)
    name = f"dead-letters/default/{first}.json"

    def snatch(written: str) -> None:
        if written == name:
            api.store.before_write = lambda _: None
            data, info = api.store.get(name)
            api.store.put(name, data, if_generation=info.generation)

    api.store.before_write = snatch
    page = api.client.post("/dead-letters:discard", json={"all": True}).json()
    assert (page["matched"], page["done"], page["skipped"]) == (2, 1, 1)
    assert record(api, second).status is Status.FAILED


def test_everything_must_be_said(api: Api) -> None:
    bury(api)
    answer = api.client.post("/dead-letters:discard", json={})
    assert answer.status_code == 422
    assert '"all": true' in answer.json()["error"]
