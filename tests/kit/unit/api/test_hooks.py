"""Hooks in the API: told of each task that it publishes, and of the cancel calls that end one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse import Hook, TaskInfo
from poolhouse.pipeline.hooks import Hooks, failures
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import Api, application, settings

PIPELINE = Path(__file__).parents[4] / "pipeline.toml"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000aa-01"


class Noting(Hook):
    def __init__(self) -> None:
        self.submitted: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.cancelled: list[str] = []
        self.closed = False

    async def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        self.submitted.append((task.task_id, dict(task.payload), dict(trace)))
        trace["traceparent"] = OTHER

    def on_cancel(self, task: TaskInfo) -> None:
        self.cancelled.append(task.task_id)

    def close(self) -> None:
        self.closed = True


class Broken(Hook):
    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        trace["traceparent"] = "broken"
        raise SystemExit

    async def on_cancel(self, task: TaskInfo) -> None:
        raise RuntimeError


@pytest.fixture
def noting(api: Api) -> Noting:
    hook = Noting()
    api.app.state.services = replace(api.app.state.services, hooks=Hooks([hook]))
    return hook


def traces(api: Api) -> list[str | None]:
    return [published.message.attributes.get("traceparent") for published in api.topics.published]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/submit-task", {"task_type": "anything", "value": 1}),
        ("/tasks", {"task_type": "anything", "payload": {"value": 1}}),
        ("/tasks", {"task_type": "anything", "payload": {"value": 1}, "delay_s": 60}),
        ("/tasks", {"task_type": "anything", "payload": {"value": 1}, "unique": {"by": ["value"]}}),
        ("/tasks:batch", {"tasks": [{"task_type": "anything", "payload": {"value": 1}}]}),
    ],
)
def test_each_task_that_is_published_is_told_and_carries_the_trace_that_the_hook_gives(
    api: Api, noting: Noting, path: str, body: dict[str, Any]
) -> None:
    answer = api.client.post(path, json=body, headers={"traceparent": TRACE})
    assert answer.is_success, answer.text
    [(task_id, payload, trace)] = noting.submitted
    assert (payload, trace) == ({"value": 1}, {"traceparent": TRACE})
    assert task_id in answer.text
    assert traces(api) == [OTHER]


def test_a_task_that_is_there_already_is_not_submitted_again(api: Api, noting: Noting) -> None:
    body = {"task_type": "anything", "payload": {"value": 1}}
    for _ in range(2):
        api.client.post("/tasks", json={**body, "unique": {"by": ["value"]}})
        api.client.post("/tasks", json=body, headers={"Idempotency-Key": "one"})
    assert len(noting.submitted) == len(api.topics.published) == 2


def test_a_cancel_call_is_told_once_and_by_the_worker_where_only_that_knows_the_task(api: Api, noting: Noting) -> None:
    answer = api.client.post("/tasks", json={"task_type": "anything", "payload": {"value": 1}, "delay_s": 3600})
    waiting = answer.json()["task_id"]
    for task_id in (waiting, waiting, api.submit(value=1)):
        assert api.client.post(f"/tasks/{task_id}:cancel").json()["status"] == "cancelled"
    assert noting.cancelled == [waiting]


def test_a_hook_that_raises_changes_nothing(api: Api) -> None:
    api.app.state.services = replace(api.app.state.services, hooks=Hooks([Broken()]))
    before = dict(failures())
    answer = api.client.post(
        "/tasks", json={"task_type": "anything", "payload": {}, "delay_s": 60}, headers={"traceparent": TRACE}
    )
    assert answer.status_code == 202
    assert api.client.post(f"/tasks/{answer.json()['task_id']}:cancel").json()["status"] == "cancelled"
    assert traces(api) == [TRACE]
    assert {name: failures()[name] - before.get(name, 0) for name in failures() if f"{__name__}:Broken" in name} == {
        f"{__name__}:Broken.on_submit": 1,
        f"{__name__}:Broken.on_cancel": 1,
    }


@pytest.fixture
def declaration(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "pipeline.toml"
    text = PIPELINE.read_text(encoding="utf-8")
    path.write_text(f'hooks = ["{__name__}:Noting"]\n{text}', encoding="utf-8")
    return path


def test_hooks_of_pipeline_toml_are_made_with_the_application_and_closed_with_it(declaration: Path) -> None:
    app = application(
        MemoryStore(), MemoryTopics(), ManualClock(), environment=settings(pipeline_file=str(declaration))
    )
    with TestClient(app) as client:
        client.post("/submit-task", json={"task_type": "anything"})
        chain = app.state.services.hooks.of("anything")
        [hook] = chain._of["on_submit"]
        assert len(hook.submitted) == 1
    assert hook.closed
