"""What the e2e reads out of the API's description: from the real one, with a task type of a project's own."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pydantic import Field

from poolhouse.api.app import create_app
from poolhouse.client import schema
from poolhouse.local.e2e import builtin, project
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.names import FileName
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, registry, task
from tests.kit.unit.api.conftest import settings
from worker.transforms.data.steps import StepName
from worker.transforms.files.operations import OperationName


class Count(Payload):
    document: FileName
    words: list[str] = Field(examples=[["towel", "dog"]])
    unset: int = 3


@task("count_words")
def count_words(payload: Count, ctx: TaskContext) -> None:
    """Count some words of a document."""


@pytest.fixture(scope="module")
def payloads() -> dict[str, schema.Payload]:
    handlers = [*registry.load(["worker.handlers", "poolhouse.worker.samples"]).values()]
    known = registry.Registry([*handlers, *count_words.__poolhouse_handlers__])  # type: ignore[attr-defined]
    publisher = Publisher(settings(), topics=MemoryTopics())
    app = create_app(settings(), store=MemoryStore(), publisher=publisher, registry=known, clock=ManualClock())
    openapi = app.openapi()
    return {name: schema.payload(openapi, name) for name in schema.task_types(openapi)}


def test_every_task_type_is_described(payloads: dict[str, schema.Payload]) -> None:
    assert {"file_processing", "data_transformation", "sample.echo", "count_words"} < payloads.keys()


def test_a_quick_run_is_made_of_cases_that_there_are() -> None:
    made = project.load(["local.e2e.cases"])
    names = {case.name for case in made.cases("run", queues=["urgent", "bulk"])}
    assert made.quick() <= names
    assert {case.name for case in builtin.make("run", queues=["urgent"])} >= builtin.QUICK


def test_operations_and_steps_are_those_of_the_payloads(payloads: dict[str, schema.Payload]) -> None:
    assert payloads["file_processing"].kinds == set(get_args(OperationName))
    assert payloads["data_transformation"].kinds == set(get_args(StepName))
    assert payloads["count_words"].kinds == set()


def test_a_project_runs_the_cases_of_its_own_modules_and_no_task_type_without_a_case() -> None:
    made = project.load(["local.e2e.cases"])
    assert {"orders.csv", "paper.pdf"} <= made.files().keys()
    assert made.every_kind_of() == {"file_processing", "data_transformation"}
    names = [case.name for case in made.cases("run", queues=["urgent", "default", "bulk"])]
    assert "missing file" in names
    assert not [name for name in names if "count_words" in name]


def test_a_project_without_cases_has_none() -> None:
    assert project.load([]).cases("run", queues=["default"]) == []
    assert project.load([]).files() == {}


@pytest.mark.parametrize(
    ("module", "message"),
    [("no.such.module", "no.such.module can't be imported"), ("json", "json has no function cases")],
)
def test_a_module_that_can_not_be_used_is_named(module: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        project.load([module])
