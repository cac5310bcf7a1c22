"""The test kit in projects that install the package: one made by `new-project`, and one that only calls the API."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.commands.project import new_project
from tests.kit.integration.testing.conftest import run

PARTY = '''
"""Greets many people, and lists them."""

from poolhouse import Payload, TaskContext, task

from worker.handlers.greet import Greet, greet


class Party(Payload):
    names: list[str]


class Host(Payload):
    name: str


@task("party")
def party(payload: Party, ctx: TaskContext) -> str:
    guests = (greet.ref(Greet(name=name)) for name in payload.names)
    return ctx.group(guests, then=guest_list.ref(Host(name="Bob")).then(farewell.ref(into="guests")))


@task("guest_list")
def guest_list(payload: Host, ctx: TaskContext) -> list[str]:
    return [f"{payload.name}: {guest.result.greeting}" for guest in ctx.group_results(greet)]


class Guests(Payload):
    guests: list[str]


@task("farewell")
def farewell(payload: Guests, ctx: TaskContext) -> int:
    return len(payload.guests)
'''

TESTS = '''
"""Tests of the handler at every level."""

from poolhouse.testing.pipeline import Pipeline

from worker.handlers.greet import Greeting, greet
from worker.handlers.party import farewell, party


def test_a_person_is_greeted(pipeline: Pipeline) -> None:
    task = pipeline.submit(greet, name="Ada")
    pipeline.run_until_idle()
    assert task.result() == Greeting(greeting="Hello, Ada!")


def test_all_of_a_group_and_what_follows_it_is_waited_for(pipeline: Pipeline) -> None:
    task = pipeline.submit(party, names=["Ada", "Eve"])
    pipeline.run_until_idle()
    ada, eve, guests = pipeline.follow_ups(task)
    assert eve.result() == {"greeting": "Hello, Eve!"}
    assert guests.result() == ["Bob: Hello, Ada!", "Bob: Hello, Eve!"]
    [left] = pipeline.assert_submitted(farewell)
    assert left.result() == 2


def test_at_every_crash_point(pipeline: Pipeline) -> None:
    for turn in pipeline.crash_points():
        with turn:
            pipeline.submit(greet, name="Ada")


def test_that_fails(pipeline: Pipeline) -> None:
    pipeline.submit(greet, name="Ada")
    pipeline.run_until_idle()
    pipeline.assert_dead_lettered(reason="no such")
'''

CALLER = '''
"""A service that hands work to the pipeline of another project."""

import os

import requests
from fastapi import FastAPI

app = FastAPI()


@app.post("/orders/{order}")
def place(order: str) -> dict[str, str]:
    task = {"task_type": "charge", "payload": {"order": order}, "delay_s": 3600}
    answer = requests.post(os.environ["TASKS_URL"] + "/tasks", json=task, timeout=10)
    answer.raise_for_status()
    return {"task_id": answer.json()["task_id"]}
'''

CALLER_TESTS = """
import pytest
from fastapi.testclient import TestClient
from poolhouse import Payload, TaskContext, task
from poolhouse.testing.pipeline import Pipeline
from shop import app


class Charge(Payload):
    order: str


@task("charge")
def charge(payload: Charge, ctx: TaskContext) -> str:
    return f"{payload.order} is paid"


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    return (__name__,)


def test_an_order_is_charged_an_hour_later(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKS_URL", pipeline.api_url)
    assert TestClient(app).post("/orders/A-1").status_code == 200
    [task] = pipeline.assert_submitted(charge, order="A-1")
    pipeline.run_until_idle()
    assert not task.attempts
    pipeline.clock.advance("1 hour 1 minute")
    assert task.result() == "A-1 is paid"
"""


#: How the tests of a project are run.
PYTEST = ("pytest", "-q", "-rs", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "mine"
    new_project.create(folder)
    (folder / "worker/handlers/party.py").write_text(PARTY)
    (folder / "tests/unit/test_levels.py").write_text(TESTS)
    return folder


@pytest.mark.parametrize("level", ["inline", "in-process", "embedded"])
def test_a_new_project_has_every_level_with_the_same_tests(python: Path, project: Path, level: str) -> None:
    code, output = run(python, project, *PYTEST, "--backend", level)
    assert code == 1, output
    skipped = int(level == "embedded")
    assert "1 failed" in output, output
    assert f"{skipped} skipped" in output or not skipped, output
    assert "test_that_fails" in output
    # A test that failed shows what its pipeline did.
    assert "pipeline: what happened" in output
    assert "submitted: greet" in output
    if skipped:
        assert "can't go through crash points on the level embedded" in output


@pytest.mark.parametrize("level", ["inline", "in-process"])
def test_a_project_without_a_pipeline_tests_its_calls(python: Path, tmp_path: Path, level: str) -> None:
    (tmp_path / "shop.py").write_text(CALLER)
    (tmp_path / "test_shop.py").write_text(CALLER_TESTS)
    code, output = run(python, tmp_path, *PYTEST, "--backend", level)
    assert code == 0, output
    assert "1 passed" in output


def test_a_level_that_does_not_exist_is_refused(python: Path, tmp_path: Path) -> None:
    code, output = run(python, tmp_path, *PYTEST, "--backend", "lambda")
    assert code == 4, output
    assert "'inline', 'in-process', 'embedded', 'containers'" in output
