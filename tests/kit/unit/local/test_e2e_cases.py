"""What the e2e reads out of the API's description: from the real one, with a task type of a project's own."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import Field

from local.e2e import cases
from poolhouse.api.app import create_app
from poolhouse.client import schema
from poolhouse.pipeline.names import FileName
from poolhouse.pipeline.publisher import Publisher
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


def test_operations_and_steps_are_those_of_the_payloads(payloads: dict[str, schema.Payload]) -> None:
    assert payloads["file_processing"].kinds == set(get_args(OperationName))
    assert payloads["data_transformation"].kinds == set(get_args(StepName))
    assert payloads["count_words"].kinds == set()


class _Sent:
    """A client that notes what is submitted."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    def submit(self, path: str, body: Any) -> dict[str, str]:
        self.bodies.append(body)
        return {"task_id": "t"}


def test_the_projects_own_task_types_alone_run_with_their_example_and_an_upload_that_is_there(
    payloads: dict[str, schema.Payload],
) -> None:
    made = cases.make("run", cases.samples(), queues=["urgent", "default", "bulk"], payloads=[*payloads.values()])
    (own,) = (case for case in made if case.name.endswith(": its example"))
    client = _Sent()
    own.submit(client)  # type: ignore[arg-type]
    (body,) = client.bodies
    assert body["task_type"] == "count_words"
    assert Count.model_validate(body["payload"]) == Count(document="run/notes.txt", words=["towel", "dog"])
