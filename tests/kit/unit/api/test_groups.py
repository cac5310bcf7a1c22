"""Groups and chains over the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.api import create_app
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.groups.group import JOIN
from poolhouse.pipeline.messaging.message import LINKS, decode, parse_time
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.tasks.task_ids import group_prefix
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, Unique, task
from poolhouse.worker.registry import Registry
from tests.kit.unit.api.conftest import REGISTRY, Api, settings


class Number(Payload):
    number: int
    text: str = ""


@task("count")
def count(payload: Number, ctx: TaskContext) -> Number: ...


@task("once", unique=Unique(by=("number",)))
def once(payload: Number, ctx: TaskContext) -> None: ...


@task("light", record=False)
def light(payload: Number, ctx: TaskContext) -> None: ...


@pytest.fixture
def api() -> Iterator[Api]:
    store, topics, clock, environment = MemoryStore(), MemoryTopics(), ManualClock(), settings()
    own = (handler for function in (count, once, light) for handler in function.__poolhouse_handlers__)
    app = create_app(
        environment,
        store=store,
        publisher=Publisher(environment, topics=topics),
        registry=Registry([*own, *REGISTRY.values()]),
        clock=clock,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/ready")
        yield Api(app, client, store, topics, clock, environment)


def numbers(*values: int) -> list[dict[str, Any]]:
    return [{"task_type": "count", "payload": {"number": value}} for value in values]


JOINED: dict[str, Any] = {"task_type": "anything", "payload": {"value": "all"}}


def published(api: Api) -> list[dict[str, Any]]:
    return [json.loads(each.message.data) for each in api.topics.published]


def end(api: Api, body: dict[str, Any], status: Status = Status.SUCCEEDED) -> None:
    """Write the final record of a published task, as a worker does."""
    message = next(each.message for each in api.topics.published if json.loads(each.message.data) == body)
    task_ids = load_task_ids(api.store)
    read = decode(
        message.data,
        message.attributes,
        queue="default",
        message_id="1",
        published_at=api.clock.now,
        task_ids=task_ids,
    )
    record = transitions.fresh(read, now=api.clock.now).model_copy(update={"status": status})
    api.records.write(record, if_generation=ABSENT)


def test_a_group_is_submitted_with_one_call(api: Api) -> None:
    answer = api.client.post("/groups", json={"tasks": numbers(1, 2), "then": JOINED})
    assert answer.status_code == 202
    group = answer.json()
    assert (group["status"], group["size"]) == ("submitted", 2)
    assert answer.headers["location"] == f"/groups/{group['group_id']}"
    assert [body["number"] for body in published(api)] == [1, 2]
    assert [body[LINKS]["group_index"] for body in published(api)] == [0, 1]
    assert group["join_task_id"] == load_task_ids(api.store).in_group(group["group_id"], JOIN)
    shown = api.client.get(f"/groups/{group['group_id']}").json()
    assert (shown["status"], shown["counts"]["queued"], shown["settled"]) == ("running", 2, 0)
    assert shown["then"] == {"task_id": group["join_task_id"], "task_type": "anything", "status": "waiting"}


def test_a_group_costs_one_write_to_submit(api: Api) -> None:
    before = len(api.store.writes)
    group_id = api.client.post("/groups", json={"tasks": numbers(*range(100)), "then": JOINED}).json()["group_id"]
    assert api.store.writes[before:] == [names.group(group_id)]


def test_a_group_without_members_joins_at_once(api: Api) -> None:
    answer = api.client.post("/groups", json={"tasks": [], "then": JOINED}).json()
    assert [body["task_id"] for body in published(api)] == [answer["join_task_id"]]


def test_members_are_added_in_batches_and_the_group_is_closed(api: Api) -> None:
    group_id = api.client.post("/groups", json={"open": True, "then": JOINED}).json()["group_id"]
    for offset in (0, 3):
        body = {"offset": offset, "tasks": numbers(offset, offset + 1, offset + 2)}
        for _ in range(2):  # again: its answer was lost
            assert api.client.post(f"/groups/{group_id}:add", json=body).status_code == 200
    assert [body["number"] for body in published(api)] == list(range(6))
    shown = api.client.get(f"/groups/{group_id}").json()
    assert (shown["status"], "size" in shown) == ("open", False)
    closed = api.client.post(f"/groups/{group_id}:close", json={"size": 6})
    assert (closed.status_code, closed.json()["status"], closed.json()["size"]) == (200, "running", 6)
    assert api.client.post(f"/groups/{group_id}:close", json={"size": 6}).status_code == 200
    assert len(published(api)) == 6


def test_tasks_of_a_group_are_submitted_when_they_are_published_and_not_when_it_was_made(api: Api) -> None:
    """A purge in between does not mean them."""
    group_id = api.client.post("/groups", json={"open": True, "then": JOINED}).json()["group_id"]
    times = []
    for call, body in (("add", {"offset": 0, "tasks": numbers(1)}), ("close", {"size": 1})):
        api.clock.forward(5)
        times.append(api.clock.now)
        assert api.client.post(f"/groups/{group_id}:{call}", json=body).status_code == 200
        if call == "add":
            end(api, published(api)[0])
    assert [parse_time(body["submitted_at"]) for body in published(api)] == times


def test_a_group_that_is_closed_when_all_have_ended_joins_at_once(api: Api) -> None:
    group = api.client.post("/groups", json={"open": True, "then": JOINED}).json()
    path = f"/groups/{group['group_id']}"
    api.client.post(f"{path}:add", json={"offset": 0, "tasks": numbers(1, 2)})
    for body in published(api):
        end(api, body)
    assert api.client.post(f"{path}:close", json={"size": 2}).json()["status"] == "ended"
    assert published(api)[-1]["task_id"] == group["join_task_id"]


@pytest.mark.parametrize(
    ("adds", "size", "problem"),
    [
        ([(0, 2)], 3, "2 members were added, not 3"),
        ([(0, 2), (3, 1)], 4, "the members 2 to 2 are missing"),
    ],
)
def test_a_group_is_closed_only_with_all_of_its_members(
    api: Api, adds: list[tuple[int, int]], size: int, problem: str
) -> None:
    group_id = api.client.post("/groups", json={"open": True}).json()["group_id"]
    for offset, added in adds:
        api.client.post(f"/groups/{group_id}:add", json={"offset": offset, "tasks": numbers(*range(added))})
    answer = api.client.post(f"/groups/{group_id}:close", json={"size": size})
    assert (answer.status_code, problem in answer.json()["error"]) == (409, True)


@pytest.mark.parametrize("offset", [0, 3, 5])
def test_a_batch_that_overlaps_another_is_refused_at_once_and_the_group_can_be_closed(api: Api, offset: int) -> None:
    group_id = api.client.post("/groups", json={"open": True}).json()["group_id"]
    path = f"/groups/{group_id}"
    for first, count in ((2, 4), (0, 2)):
        answer = api.client.post(f"{path}:add", json={"offset": first, "tasks": numbers(*range(count))})
        assert answer.status_code == 200
    answer = api.client.post(f"{path}:add", json={"offset": offset, "tasks": numbers(1, 2, 3)})
    assert answer.status_code == 409
    assert "already: go on at offset" in answer.json()["error"]
    assert api.client.post(f"{path}:close", json={"size": 6}).status_code == 200


def test_a_failure_task_that_nothing_needs_says_so(api: Api) -> None:
    following = {"then": {"task_type": "count", "payload": {"number": 0}}}
    following["on_failure"] = following["then"]
    for tasks, status in (([], "not_needed"), (numbers(1), "waiting")):
        group_id = api.client.post("/groups", json={"tasks": tasks, **following}).json()["group_id"]
        assert api.client.get(f"/groups/{group_id}").json()["on_failure"]["status"] == status
    assert api.client.get(f"/groups/{group_id}").json()["then"]["status"] == "waiting"
    api.client.post(f"/groups/{group_id}:cancel")
    group = api.client.get(f"/groups/{group_id}").json()
    assert (group["then"]["status"], group["on_failure"]["status"]) == ("not_needed", "not_needed")


def test_what_does_not_fit_the_groups_state_is_a_conflict(api: Api) -> None:
    open_id = api.client.post("/groups", json={"open": True}).json()["group_id"]
    closed_id = api.client.post("/groups", json={"tasks": numbers(1)}).json()["group_id"]
    api.client.post(f"/groups/{open_id}:add", json={"offset": 0, "tasks": numbers(1)})
    for path, body in (
        (f"/groups/{open_id}:add", {"offset": 0, "tasks": numbers(2)}),
        (f"/groups/{closed_id}:add", {"offset": 1, "tasks": numbers(2)}),
        (f"/groups/{closed_id}:close", {"size": 2}),
    ):
        assert api.client.post(path, json=body).status_code == 409, path


def test_the_same_key_gives_the_same_group_and_goes_on_where_the_queue_failed(api: Api) -> None:
    headers, body = {"Idempotency-Key": "import-7"}, {"tasks": numbers(1, 2), "then": JOINED}
    api.topics.down = True
    assert api.client.post("/groups", json=body, headers=headers).status_code == 503
    api.topics.down = False
    api.clock.forward(5)
    first = api.client.post("/groups", json=body, headers=headers)
    api.clock.forward(5)
    second = api.client.post("/groups", json=body, headers=headers)
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert len({each["task_id"] for each in published(api)}) == 2
    other = api.client.post("/groups", json={"tasks": numbers(1)}, headers=headers)
    assert (other.status_code, "another body" in other.json()["error"]) == (409, True)


def test_cancelling_a_group_writes_once_and_tells_the_running_members(api: Api) -> None:
    group_id = api.client.post("/groups", json={"tasks": numbers(1, 2, 3), "then": JOINED}).json()["group_id"]
    end(api, published(api)[0], Status.RUNNING)
    before = len(api.store.writes)
    assert api.client.post(f"/groups/{group_id}:cancel").json()["status"] == "cancelled"
    assert api.store.writes[before] == names.group(group_id)
    assert len(api.store.writes) == before + 2
    assert api.client.get(f"/groups/{group_id}").json()["status"] == "cancelled"
    assert api.client.post(f"/groups/{group_id}:cancel").status_code == 200


def test_discarding_a_member_publishes_the_join_before_the_letter_is_gone(api: Api) -> None:
    group = api.client.post("/groups", json={"tasks": numbers(1), "then": JOINED}).json()
    [member] = published(api)
    end(api, member, Status.DEAD)
    assert len(published(api)) == 1
    stored = api.records.read(member["task_id"])
    assert stored is not None
    letter = {
        "task_id": member["task_id"],
        "task_type": "count",
        "queue": "default",
        "reason": "r",
        "died_at": api.clock.now.isoformat(),
        "message_id": "1",
        "published_at": api.clock.now.isoformat(),
        "data": json.dumps(member),
        "attributes": {},
    }
    api.store.put(names.dead_letter("default", member["task_id"]), json.dumps(letter).encode())
    assert api.client.post(f"/dead-letters/{member['task_id']}:discard").status_code == 204
    assert published(api)[-1]["task_id"] == group["join_task_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "tasks"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": numbers(*range(1001))}, "tasks"),
        ({"tasks": [], "open": True}, "tasks"),
        ({"open": "yes"}, "open"),
        ({"tasks": [], "size": 0}, "size"),
        ({"tasks": [], "wait_for": "all"}, "wait_for"),
        ({"tasks": [1]}, "tasks.0"),
        ({"tasks": [{"task_type": "nothing"}]}, "tasks.0.task_type"),
        ({"tasks": [{"task_type": "once", "payload": {"number": 1}}]}, "tasks.0.task_type"),
        ({"tasks": [{"task_type": "light", "payload": {"number": 1}}]}, "tasks.0.task_type"),
        ({"tasks": [{"task_type": "count", "payload": {"number": "x"}}]}, "tasks.0.payload.number"),
        ({"tasks": [{"task_type": "count", "payload": {"number": 1, "task_id": "a"}}]}, "tasks.0.payload.task_id"),
        ({"tasks": [{**numbers(1)[0], "queue": "nowhere"}]}, "tasks.0.queue"),
        ({"tasks": [{**numbers(1)[0], "queue": 3}]}, "tasks.0.queue"),
        ({"tasks": [{**numbers(1)[0], "delay_s": 3}]}, "tasks.0.delay_s"),
        ({"tasks": [{**numbers(1)[0], "then": []}]}, "tasks.0.then"),
        ({"tasks": [], "then": {"task_type": "count"}}, "then.payload.number"),
        ({"tasks": [], "then": {**JOINED, "then": [{"task_type": "count", "into": "no"}]}}, "then.then.0.into"),
        ({"tasks": [], "on_failure": {"task_type": "count", "into": ["number"]}}, "on_failure.into"),
    ],
)
def test_a_group_that_can_not_be_is_refused_with_the_field(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api.client.post("/groups", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert published(api) == []


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("add", {"tasks": numbers(1)}, "offset"),
        ("add", {"offset": -1, "tasks": numbers(1)}, "offset"),
        ("add", {"offset": True, "tasks": numbers(1)}, "offset"),
        ("add", {"offset": 0, "tasks": []}, "tasks"),
        ("add", {"offset": 99_999, "tasks": numbers(1, 2)}, "tasks"),
        ("close", {}, "size"),
        ("close", {"size": 100_001}, "size"),
        ("close", {"size": 1, "more": 1}, "more"),
    ],
)
def test_a_batch_that_can_not_be_is_refused_with_the_field(
    api: Api, call: str, body: dict[str, Any], field: str
) -> None:
    group_id = api.client.post("/groups", json={"open": True}).json()["group_id"]
    answer = api.client.post(f"/groups/{group_id}:{call}", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_an_unknown_group_is_404_and_a_group_is_no_task(api: Api) -> None:
    group_id = api.client.post("/groups", json={"open": True}).json()["group_id"]
    assert api.client.get(f"/tasks/{group_id}").status_code == 404
    for unknown in ("nothing", "..", load_task_ids(api.store).new_group(api.clock.now)):
        assert api.client.get(f"/groups/{unknown}").status_code == 404
        assert api.client.post(f"/groups/{unknown}:cancel").status_code == 404


def test_what_follows_a_group_says_so_however_long_the_group_takes(api: Api) -> None:
    failure = {"task_type": "anything", "into": "value"}
    body = {"tasks": numbers(1), "then": JOINED, "on_failure": failure}
    group = api.client.post("/groups", json=body).json()
    without = api.client.post("/groups", json={"tasks": numbers(1)}).json()
    ids = load_task_ids(api.store)
    member, no_join = ids.in_group(group["group_id"], 0), ids.in_group(without["group_id"], JOIN)
    for days, other in ((0, 200), (60, 404)):
        api.clock.forward(days * 24 * 3600)
        for name in ("join_task_id", "failure_task_id"):
            shown = api.client.get(f"/tasks/{group[name]}")
            assert (shown.status_code, shown.json()["status"]) == (200, "queued")
            assert shown.json()["follows_group"] == group["group_id"]
            result = api.client.get(f"/tasks/{group[name]}/result")
            assert (result.status_code, result.json()["task_status"]) == (409, "queued")
            assert f"follows the members of group {group['group_id']}" in result.json()["error"]
        for task_id in (member, no_join):
            shown = api.client.get(f"/tasks/{task_id}")
            assert (shown.status_code, "follows_group" in shown.json()) == (other, False)
    api.store.delete(names.group(group["group_id"]))
    assert api.client.get(f"/tasks/{group['join_task_id']}").status_code == 404


def test_only_a_task_that_may_follow_a_group_costs_a_look_at_one(api: Api) -> None:
    task_id = api.client.post("/tasks", json=numbers(1)[0]).json()["task_id"]
    api.client.get(f"/tasks/{task_id}")
    before = api.store.calls
    api.records.read(task_id)
    of_a_record, before = api.store.calls - before, api.store.calls
    api.client.get(f"/tasks/{task_id}")
    assert api.store.calls - before == of_a_record


def test_storage_that_is_down_is_503(api: Api) -> None:
    group_id = api.client.post("/groups", json={"open": True}).json()["group_id"]
    api.store.failure = StoreUnavailable("down")
    assert api.client.post("/groups", json={"tasks": numbers(1)}).status_code == 503
    assert api.client.get(f"/groups/{group_id}").status_code == 503


def test_a_group_is_counted_by_one_listing_of_its_own_members(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    group = api.client.post("/groups", json={"tasks": numbers(1, 2, 3), "then": JOINED}).json()["group_id"]
    api.client.post("/groups", json={"tasks": numbers(4, 5)})
    api.client.post("/tasks", json=numbers(6)[0])
    for body in published(api)[1:]:
        end(api, body)
    listed: list[str] = []
    listing = api.store.list

    def listen(prefix: str, **options: Any) -> Any:
        listed.append(prefix)
        return listing(prefix, **options)

    monkeypatch.setattr(api.store, "list", listen)
    answer = api.client.get(f"/groups/{group}").json()
    assert (answer["counts"]["succeeded"], answer["counts"]["queued"]) == (2, 1)
    assert listed == [f"tasks/{group_prefix(group)}"]


def test_a_task_is_submitted_with_what_follows_it(api: Api) -> None:
    body = {
        **numbers(1)[0],
        "then": [{"task_type": "count", "payload": {"text": "b"}}, {"task_type": "anything", "into": "value"}],
        "on_failure": {"task_type": "anything", "into": "value"},
    }
    assert api.client.post("/tasks", json=body).status_code == 202
    [message] = published(api)
    assert [link["task_type"] for link in message[LINKS]["then"]] == ["count", "anything"]
    assert message[LINKS]["on_failure"]["into"] == "value"


def test_a_plain_task_carries_no_links(api: Api) -> None:
    api.client.post("/tasks", json=numbers(1)[0])
    assert set(published(api)[0]) == {"task_id", "task_type", "submitted_at", "number"}


@pytest.mark.parametrize("claim", [{"parent_id": "a"}, {"trigger": "files"}, {"schedule": "nightly"}])
def test_no_client_says_what_its_task_is_linked_with(api: Api, claim: dict[str, str]) -> None:
    hidden = {"task_type": "anything", "payload": {LINKS: claim}}
    plain = {"task_type": "anything"}
    for path, body, field in (
        ("/tasks", hidden, f"payload.{LINKS}"),
        ("/tasks", plain | claim, next(iter(claim))),
        ("/tasks", {**plain, "then": [hidden]}, f"then.0.payload.{LINKS}"),
        ("/tasks", {**plain, "then": [plain | claim]}, f"then.0.{next(iter(claim))}"),
        ("/groups", {"tasks": [hidden]}, f"tasks.0.payload.{LINKS}"),
        ("/groups", {"tasks": [plain | claim]}, f"tasks.0.{next(iter(claim))}"),
        ("/submit-task", {**plain, LINKS: claim}, LINKS),
        ("/submit-task", plain | claim, next(iter(claim))),  # further fields are the payload's
    ):
        answer = api.client.post(path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), (path, body)
    batch = api.client.post("/tasks:batch", json={"tasks": [hidden, plain | claim]}).json()
    assert [task["errors"][0]["field"] for task in batch["tasks"]] == [f"payload.{LINKS}", next(iter(claim))]
    assert published(api) == []


@pytest.mark.parametrize(
    ("links", "field"),
    [
        ({"then": {}}, "then"),
        ({"then": [{"task_type": "count", "payload": {"number": "x"}}]}, "then.0.payload.number"),
        ({"then": [{"task_type": "count", "payload": {"other": 1}}]}, "then.0.payload.other"),
        ({"then": [{"task_type": "anything"}] * 101}, "then"),
        ({"on_failure": {"task_type": "count"}}, "on_failure.payload.number"),
        ({"on_failure": {"task_type": "light", "payload": {"number": 1}}}, "on_failure.task_type"),
    ],
)
def test_what_can_not_follow_is_refused_with_the_field(api: Api, links: dict[str, Any], field: str) -> None:
    answer = api.client.post("/tasks", json={**numbers(1)[0], **links})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_tasks_that_differ_in_what_follows_are_other_bodies_of_a_key(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    api.client.post("/tasks", json=numbers(1)[0], headers=headers)
    linked = {**numbers(1)[0], "then": [{"task_type": "anything"}]}
    assert api.client.post("/tasks", json=linked, headers=headers).status_code == 409


def test_groups_are_listed_newest_first_without_a_look_at_their_members(api: Api) -> None:
    assert api.client.get("/groups").json() == {"groups": [], "next_page_token": None}
    made = []
    for number in range(3):
        made.append(api.client.post("/groups", json={"tasks": numbers(number)}).json()["group_id"])
        api.clock.forward(1)
    api.store.put(f"{names.GROUPS}{made[1]}/node", b"{}")
    api.client.get("/tasks")  # loads the index
    lists = api.store.lists
    first = api.client.get("/groups", params={"page_size": 2}).json()
    assert [group["group_id"] for group in first["groups"]] == [made[2], made[1]]
    assert first["groups"][0]["counts"] == {"queued": 1}
    assert first["groups"][0]["size"] == 1
    assert api.store.lists - lists <= 2  # of the groups, and of what is new in the index
    rest = api.client.get("/groups", params={"page_size": 2, "page_token": first["next_page_token"]}).json()
    assert ([group["group_id"] for group in rest["groups"]], rest["next_page_token"]) == ([made[0]], None)
    assert api.client.get("/groups", params={"page_token": "../x"}).status_code == 422
