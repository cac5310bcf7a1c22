"""Calls in a row, along the links of the OpenAPI document: in every order, whatever workers did in between."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from poolhouse.api.answers import json_answer
from poolhouse.api.routes import scheduled
from poolhouse.api.routes.scheduled import Moved
from poolhouse.pipeline.errors import Conflict
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter_attributes import MESSAGE_ID, PUBLISHED_AT, REASON
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.tasks.transitions import Run
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import PIPELINE, application, without_lifespan
from tests.kit.unit.api.conftest import settings as environment

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@dataclass(frozen=True)
class Answer:
    """What a call answered."""

    operation: str
    status: int
    body: Any


@dataclass
class Walk:
    """An application of its own, and calls of it that are checked against its document."""

    path: Path
    document: Mapping[str, Any] | None = None
    store: MemoryStore = field(default_factory=MemoryStore)
    topics: MemoryTopics = field(default_factory=MemoryTopics)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        (self.path / "pipeline.toml").write_text(PIPELINE)
        file = str(self.path / "pipeline.toml")
        self.settings = environment(pipeline_file=file, publish_timeout_s=60, storage_timeout_s=60)
        app = application(self.store, self.topics, self.clock, environment=self.settings)
        app.openapi_schema = self.document
        self.document = app.openapi()
        schema = schemathesis.openapi.from_asgi("/openapi.json", without_lifespan(app))
        self.operations = {
            definition["operationId"]: schema[path][method.upper()]
            for path, methods in self.document["paths"].items()
            for method, definition in methods.items()
        }
        #: Links that were followed, with the call whose answer had them.
        self.followed: set[tuple[str, str]] = set()

    def links(self, operation: str) -> dict[str, Any]:
        """The links of the answers of a call."""
        responses = self.operations[operation].definition.raw["responses"].values()
        return {name: link for response in responses for name, link in response.get("links", {}).items()}

    def call(self, operation: str, body: Any = None, **path: str) -> Answer:
        """Make a call with a body, by default the documented one."""
        target = self.operations[operation]
        content = target.definition.raw.get("requestBody", {}).get("content", {}).get("application/json", {})
        examples = [each["value"] for each in content.get("examples", {}).values()]
        body = body or (examples[0] if examples else None)
        sent = {} if body is None else {"body": body, "media_type": "application/json"}
        return self.send(target.Case(path_parameters=path, **sent))

    def send(self, case: schemathesis.Case, *further: Any) -> Answer:
        """Make a call, and check the answer."""
        response: Response = case.call()
        case.validate_response(response, checks=[*CHECKS, *further])
        as_json = "json" in response.headers.get("content-type", [""])[0]
        operation = case.operation.definition.raw["operationId"]
        return Answer(operation, response.status_code, response.json() if as_json and response.content else None)

    def target(self, answer: Answer, link: str) -> dict[str, str]:
        """The parameters that a link takes from an answer."""
        found = {}
        for name, expression in self.links(answer.operation)[link]["parameters"].items():
            value = answer.body
            for part in expression.removeprefix("$response.body#/").split("/"):
                value = value[int(part) if part.isdigit() else part]
            found[name] = value
        return found

    def follow(self, answer: Answer, link: str, *, gone: bool = False) -> Answer:
        """Make the call that a link leads to: it finds what it is about, and a look at that agrees with it."""
        target = self.target(answer, link)
        changes = self.operations[link].method != "get"
        before = self.look(link, target) if changes else None
        reached = self.call(link, **target)
        after = self.look(link, target) if changes else None
        self.followed.add((answer.operation, link))
        assert gone or reached.status != 404, f"{link} does not find what {answer.operation} named: {reached.body}"
        self.agree(reached, before, after)
        if "task_id" in target and before is not None and Status(before["status"]).final and "dead_letter" not in link:
            assert after == before, f"{link} changed a task that had ended"
        return reached

    def look(self, link: str, target: Mapping[str, str]) -> Any:
        """What there is to be seen of the thing that a call is about."""
        match target:
            case {"group_id": group_id}:
                return self.call("get_group", group_id=group_id).body
            case {"task_id": task_id}:
                return self.call("get_task", task_id=task_id).body
            case {"name": name} if "queue" in link:
                return next(each for each in self.call("list_queues").body["queues"] if each["name"] == name)
            case {"name": name} if "schedule" in link:
                return next(each for each in self.call("list_schedules").body["schedules"] if each["name"] == name)
        return None

    @staticmethod
    def agree(answer: Answer, before: Any, after: Any) -> None:
        """A refused call changes nothing; what another one says of the thing is what a look finds after it."""
        if answer.status >= 400:
            assert after == before, f"{answer.operation} was refused with {answer.status}, and changed something"
        elif isinstance(answer.body, dict) and isinstance(after, dict) and "message_id" not in answer.body:
            seen = {name: after.get(name) for name in answer.body if name in after}
            assert seen.items() <= answer.body.items(), f"{answer.operation} answered {answer.body}: there is {after}"

    def run(self, answer: Answer) -> Stored:
        """Claim a task, as a worker does."""
        task = TaskMessage(
            task_id=answer.body["task_id"], task_type="anything", submitted_at=self.clock(), queue="default", payload={}
        )
        decided = transitions.claim(None, task, owner="o", worker="w", now=self.clock(), lease_s=60, max_attempts=5)
        assert isinstance(decided, Run)
        return RecordStore(self.store).write(decided.record, if_generation=ABSENT)

    def succeed(self, answer: Answer) -> None:
        """Run a task to its end, as a worker does."""
        claimed = self.run(answer)
        ended = transitions.succeeded(claimed.record, now=self.clock(), result=None)
        RecordStore(self.store).write(ended, if_generation=claimed.generation)

    def bury(self, answer: Answer) -> None:
        """Keep a task's message as a dead letter, as a worker does."""
        message = next(
            sent.message
            for sent in reversed(self.topics.published)
            if sent.message.attributes["task_id"] == answer.body["task_id"]
        )
        box = DeadLetterStore(self.store, queues=("default", "bulk"), task_ids=load_task_ids(self.store))
        death = {REASON: "no such row", MESSAGE_ID: "17", PUBLISHED_AT: self.clock().isoformat()}
        box.keep("default", message.data, {**message.attributes, **death}, message_id="18", now=self.clock())


#: What workers may have done between two calls.
TURNS: dict[str, Callable[[Walk, Answer], object]] = {
    "waiting": lambda walk, answer: None,
    "running": Walk.run,
    "succeeded": Walk.succeed,
    "dead": Walk.bury,
}
#: Bodies that make what the documented ones don't.
PLAIN = {"task_type": "anything", "payload": {"value": 1}}
SCHEDULED = {**PLAIN, "delay_s": 3600}
OPEN = {"open": True}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The document, which takes longer to make than all the rest of an application."""
    made = Walk(tmp_path_factory.mktemp("document")).document
    assert made is not None
    return made


@pytest.fixture
def walk(tmp_path: Path, document: dict[str, Any]) -> Walk:
    return Walk(tmp_path, document)


def pairs(walk: Walk, operation: str, *, without: str = "") -> list[tuple[str, str]]:
    return list(itertools.product([name for name in walk.links(operation) if name != without], repeat=2))


@pytest.mark.parametrize("turn", TURNS)
def test_any_two_calls_about_a_task_after_each_other(walk: Walk, turn: str) -> None:
    endless = "" if turn == "succeeded" else "follow_task"
    for first, second in pairs(walk, "create_task", without=endless):
        made = walk.call("create_task", PLAIN)
        TURNS[turn](walk, made)
        walk.follow(made, first)
        walk.follow(made, second)
    assert len(walk.followed) == (6 if turn == "succeeded" else 5)


def test_any_two_calls_about_a_scheduled_task_after_each_other(walk: Walk) -> None:
    answered = set()
    for first, second in pairs(walk, "create_task", without="follow_task"):
        made = walk.call("create_task", SCHEDULED)
        answered |= {(link, walk.follow(made, link).status) for link in (first, second)}
    assert {("run_task_now", 200), ("reschedule_task", 200), ("cancel_task", 200)} <= answered


@pytest.mark.parametrize("kind", ["open", "whole"])
def test_any_two_calls_about_a_group_after_each_other(walk: Walk, kind: str) -> None:
    for first, second in pairs(walk, "create_group"):
        made = walk.call("create_group", OPEN if kind == "open" else {"tasks": [PLAIN]})
        walk.follow(made, first)
        walk.follow(made, second)
    assert len(walk.followed) == 4


def test_any_two_calls_about_a_dead_letter_after_each_other(walk: Walk) -> None:
    final = {"replay_dead_letter", "discard_dead_letter"}
    for first, second in pairs(walk, "list_dead_letters"):
        walk.bury(walk.call("create_task", PLAIN))
        letters = walk.call("list_dead_letters")
        ended = walk.follow(letters, first)
        gone = walk.follow(letters, second, gone=first in final)
        assert ended.status < 300
        assert (gone.status == 404) == (first in final), f"{second} after {first}: {gone}"
        walk.call("discard_dead_letters", {"all": True})


@pytest.mark.parametrize("listing", ["list_queues", "list_schedules", "list_triggers", "list_groups", "list_tasks"])
def test_any_two_calls_about_the_first_entry_of_a_listing_after_each_other(walk: Walk, listing: str) -> None:
    walk.call("create_group", OPEN)
    walk.succeed(walk.call("create_task", PLAIN))
    for first, second in pairs(walk, listing):
        listed = walk.call(listing)
        walk.follow(listed, first)
        walk.follow(listed, second)
    assert walk.followed == {(listing, link) for link in walk.links(listing)}


def test_every_link_of_the_document_leads_somewhere(walk: Walk) -> None:
    walk.call("create_group", OPEN)
    for operation in walk.operations:
        for link in walk.links(operation):
            if operation == "list_dead_letters":
                walk.bury(walk.call("create_task", PLAIN))
            made = walk.call(operation, **({"name": "nightly"} if operation == "run_schedule" else {}))
            if link == "follow_task" and operation != "list_tasks":
                named = walk.target(made, link)
                walk.succeed(Answer(operation, made.status, named))
            walk.follow(made, link, gone=link in {"download_file", "replay_dead_letter", "discard_dead_letter"})
    there = {(operation, link) for operation in walk.operations for link in walk.links(operation)}
    assert walk.followed == there
    assert len(there) > 60


@pytest.mark.usefixtures("same_values_every_time")
@pytest.mark.parametrize(
    ("link", "source", "body"),
    [
        ("reschedule_task", "create_task", SCHEDULED),
        ("add_members", "create_group", OPEN),
        ("close_group", "create_group", OPEN),
    ],
)
def test_a_body_that_the_document_does_not_allow_changes_nothing(
    walk: Walk, link: str, source: str, body: Mapping[str, Any]
) -> None:
    made = walk.call(source, body)
    target = walk.target(made, link)
    cases = walk.operations[link].as_strategy(generation_mode=GenerationMode.NEGATIVE, path_parameters=target)
    refused = 0

    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def check(case: schemathesis.Case) -> None:
        nonlocal refused
        before = walk.look(link, target)
        answer = walk.send(case, negative_data_rejection)
        walk.agree(answer, before, walk.look(link, target))
        refused += answer.status >= 400

    check()
    assert refused


def change_and_refuse(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(record: TaskRecord, **_: object) -> NoReturn:
        records = RecordStore(walk.store)
        stored = records.read(record.task_id)
        assert stored is not None
        records.write(record.model_copy(update={"reason": "moved"}), if_generation=stored.generation)
        raise Conflict("it can't be moved")

    monkeypatch.setattr(transitions, "moved", moved)


def answer_something_else(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduled, "Moved", lambda **fields: Moved(**{**fields, "status": "running"}))


def lose_a_task(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TaskIds, "issued", lambda *_: False)
    monkeypatch.setattr(RecordStore, "read", lambda *_: None)


def answer_otherwise_than_declared(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduled, "json_answer", lambda body: json_answer({**body, "status": "moved"}))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (change_and_refuse, "was refused with 409, and changed something"),
        (answer_something_else, "there is .*'status': 'scheduled'"),
        (lose_a_task, "reschedule_task does not find what create_task named"),
        (answer_otherwise_than_declared, "violates schema"),
    ],
)
def test_a_planted_fault_is_found(
    walk: Walk, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Walk, pytest.MonkeyPatch], None], found: str
) -> None:
    made = walk.call("create_task", SCHEDULED)
    plant(walk, monkeypatch)
    with pytest.raises((AssertionError, FailureGroup)) as raised:
        walk.follow(made, "reschedule_task")
    seen = [raised.value, *getattr(raised.value, "exceptions", ())]
    assert any(re.search(found, str(error)) for error in seen), seen
