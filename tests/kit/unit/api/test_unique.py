"""Unique tasks over the API: one of many is submitted, and the answer names it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.api import create_app
from poolhouse.pipeline import names
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import MESSAGE_ID, PUBLISHED_AT, REASON
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.records import ErrorInfo, Status
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, Unique, task
from poolhouse.worker.registry import Registry
from tests.kit.unit.api.conftest import REGISTRY, Api, settings


class Report(Payload):
    customer: str = "acme"
    note: str = ""


@task("report", unique=Unique(by=("customer",)))
def report(payload: Report, ctx: TaskContext) -> None: ...


@task("strict", unique=Unique(by=("customer",), on_conflict="reject"))
def strict(payload: Report, ctx: TaskContext) -> None: ...


@task("index", unique=Unique(by=("customer",), on_conflict="replace", debounce_s=30))
def index(payload: Report, ctx: TaskContext) -> None: ...


@task("plain")
def plain(payload: Report, ctx: TaskContext) -> None: ...


@task("light", record=False)
def light(payload: Report, ctx: TaskContext) -> None: ...


@pytest.fixture
def api() -> Iterator[Api]:
    store, topics, clock, environment = MemoryStore(), MemoryTopics(), ManualClock(), settings()
    own = (handler for function in (report, strict, index, plain, light) for handler in function.__poolhouse_handlers__)
    registry = Registry([*own, *REGISTRY.values()])
    publisher = Publisher(environment, topics=topics)
    app = create_app(environment, store=store, publisher=publisher, registry=registry, clock=clock)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/ready")
        yield Api(app, client, store, topics, clock, environment)


def submit(api: Api, task_type: str, *, status: int = 202, key: str | None = None, **body: Any) -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = api.client.post("/tasks", json={"task_type": task_type, **body}, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def sent(api: Api) -> list[str]:
    return [published.message.attributes["task_id"] for published in api.topics.published]


def end(api: Api, task_id: str, *, dead: bool = False) -> None:
    stored = api.records.read(task_id)
    assert stored is not None
    change = transitions.died(stored.record, reason="no", now=api.clock.now, error=ErrorInfo(type="E", message="no"))
    if not dead:
        change = transitions.succeeded(stored.record, now=api.clock.now)
    api.records.write(change, if_generation=stored.generation)


def test_the_second_submit_is_answered_with_the_first_task_until_that_has_ended(api: Api) -> None:
    first = submit(api, "report")
    assert first["status"] == "submitted"
    assert submit(api, "report", payload={"customer": "acme", "note": "other"}) == {
        "task_id": first["task_id"],
        "message_id": "",
        "status": "exists",
    }
    assert submit(api, "report", payload={"customer": "other"})["status"] == "submitted"
    end(api, first["task_id"])
    assert submit(api, "report")["status"] == "submitted"
    assert len(sent(api)) == 3


def test_a_cancelled_task_frees_its_key(api: Api) -> None:
    first = submit(api, "report", delay_s=3600)["task_id"]
    assert submit(api, "report")["task_id"] == first
    api.client.post(f"/tasks/{first}:cancel")
    assert submit(api, "report")["task_id"] != first


def test_reject_is_409_and_names_the_task_that_is_there(api: Api) -> None:
    first = submit(api, "strict")["task_id"]
    problem = submit(api, "strict", status=409)
    assert problem["existing_task_id"] == first
    assert first in problem["error"]


def test_fifty_at_once_are_one_task(api: Api) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: submit(api, "report"), range(50)))
    assert len({answer["task_id"] for answer in answers}) == 1
    assert [answer["status"] for answer in answers].count("submitted") == 1
    assert len(sent(api)) == 1


def test_a_batch_has_one_answer_a_task(api: Api) -> None:
    tasks = [{"task_type": "report"}, {"task_type": "report"}, {"task_type": "strict"}, {"task_type": "strict"}]
    answer = api.client.post("/tasks:batch", json={"tasks": tasks}).json()["tasks"]
    assert sorted(each["status"] for each in answer[:2]) == ["exists", "submitted"]
    assert answer[0]["task_id"] == answer[1]["task_id"]
    assert sorted(each["status"] for each in answer[2:]) == ["rejected", "submitted"]


def test_of_many_submits_in_a_row_the_last_one_runs_after_the_last(api: Api) -> None:
    ids = []
    for number in range(3):
        ids.append(submit(api, "index", payload={"note": str(number)})["task_id"])
        api.clock.forward(10)
    shown = [api.client.get(f"/tasks/{task_id}").json() for task_id in ids]
    assert [task["status"] for task in shown] == ["cancelled", "cancelled", "scheduled"]
    assert shown[2]["not_before"] == "2026-03-01T12:00:50Z"
    assert shown[0]["reason"] == f"replaced by {ids[1]}"
    assert "delay_s" in submit(api, "index", status=422, delay_s=5)["error"]


def test_a_call_may_have_a_rule_of_its_own(api: Api) -> None:
    rule = {"by": ["note"], "while": ["queued"], "on_conflict": "reject"}
    submit(api, "plain", unique=rule)
    assert submit(api, "plain", status=409, unique=rule)
    submit(api, "plain")
    submit(api, "plain", payload={"note": "other"}, unique=rule)


@pytest.mark.parametrize(
    ("task_type", "rule", "field"),
    [
        ("plain", {"by": ["nothing"]}, "unique"),
        ("plain", {"by": 7}, "unique.by"),
        ("plain", {"while": ["gone"]}, "unique.while.0"),
        ("plain", {"on_conflict": "ignore"}, "unique.on_conflict"),
        ("plain", {"within_s": "5"}, "unique.within_s"),
        ("plain", {"debounce_s": True, "on_conflict": "replace"}, "unique.debounce_s"),
        ("plain", {"wihtin_s": 5}, "unique.wihtin_s"),
        ("plain", {"debounce_s": 5}, "unique"),
        ("plain", "yes", "unique"),
        ("light", {}, "unique"),
    ],
)
def test_a_rule_that_can_not_be_is_refused_with_its_field(api: Api, task_type: str, rule: Any, field: str) -> None:
    problem = submit(api, task_type, status=422, unique=rule)
    assert problem["errors"][0]["field"] == field
    assert sent(api) == []


def test_a_queue_that_is_down_takes_no_key(api: Api) -> None:
    api.topics.down = True
    submit(api, "report", status=503)
    api.topics.down = False
    assert submit(api, "report")["status"] == "submitted"


def test_an_idempotency_key_gives_the_same_task_again_and_is_not_used_up_by_another(api: Api) -> None:
    first = submit(api, "report", key="k-1")
    assert submit(api, "report", key="k-1") == first
    assert submit(api, "report", key="k-2") == {**first, "message_id": "", "status": "exists"}
    end(api, first["task_id"])
    assert submit(api, "report", key="k-2")["status"] == "submitted"
    assert submit(api, "report", key="k-1")["task_id"] == first["task_id"]


def test_a_dead_task_is_not_replayed_beside_another_of_its_key(api: Api) -> None:
    dead = submit(api, "report")["task_id"]
    end(api, dead, dead=True)
    box = DeadLetterStore(api.store, queues=tuple(api.settings.topology.by_name), task_ids=load_task_ids(api.store))
    message = api.topics.published[0].message
    letter = {REASON: "no", MESSAGE_ID: "1", PUBLISHED_AT: api.clock.now.isoformat()}
    box.keep("default", message.data, {**message.attributes, **letter}, message_id="2", now=api.clock.now)
    second = submit(api, "report")["task_id"]
    assert second != dead
    answer = api.client.post(f"/dead-letters/{dead}:replay")
    assert (answer.status_code, answer.json()["existing_task_id"]) == (409, second)
    end(api, second)
    assert api.client.post(f"/dead-letters/{dead}:replay").status_code == 200
    assert submit(api, "report")["task_id"] == dead


def test_a_unique_task_costs_two_writes_and_a_conflict_none(api: Api) -> None:
    def writes() -> list[str]:
        return [name.partition("/")[0] + "/" for name in api.store.writes if not name.startswith("config/")]

    submit(api, "plain")
    assert writes() == []
    submit(api, "report")
    assert writes() == [names.UNIQUE, names.TASKS]
    submit(api, "report")
    assert len(writes()) == 2


def test_a_record_shows_the_unique_task_before_a_worker_has_seen_it(api: Api) -> None:
    task_id = submit(api, "report")["task_id"]
    assert api.client.get(f"/tasks/{task_id}").json()["task_type"] == "report"
    assert api.client.get("/tasks").json()["tasks"][0]["status"] == Status.QUEUED


def test_a_submit_so_slow_that_another_took_its_key_is_503_and_its_idempotency_key_makes_a_new_task(api: Api) -> None:
    def give_up(name: str) -> None:
        """Between message and record: another call takes the key, since this one should have ended."""
        if name.startswith(names.TASKS):
            api.store.before_write = lambda name: None
            api.clock.forward(60)
            others.append(submit(api, "report")["task_id"])

    others: list[str] = []
    api.store.before_write = give_up
    problem = submit(api, "report", status=503, key="slow")
    assert "another took its key" in problem["error"]
    lost = api.client.get(f"/tasks/{sent(api)[0]}").json()
    assert (lost["status"], lost["reason"].rpartition(":")[0]) == ("cancelled", "its submit did not come to its end")
    assert submit(api, "report", key="slow")["task_id"] == others[0]
    end(api, others[0])
    assert submit(api, "report", key="slow")["task_id"] not in sent(api)[:2]


def test_one_field_may_be_named_without_a_list(api: Api) -> None:
    rule = {"by": "note", "on_conflict": "reject"}
    submit(api, "plain", unique=rule)
    assert submit(api, "plain", status=409, unique=rule)
    assert Unique(by="note").by == ("note",)


def test_what_is_no_object_is_told_in_the_words_of_json(api: Api) -> None:
    body = {"task_type": "plain", "payload": {}, "unique": True}
    assert (
        api.client.post("/tasks", json=body).json()["error"] == 'unique: must be an object, such as {"by": ["tenant"]}'
    )
