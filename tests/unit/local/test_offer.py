"""What the e2e reads out of the API's description: from the real one, with a task type of a project's own."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import Field

from api.app import create_app
from local.e2e.offer import Offer, offers
from pipeline.names import FileName
from pipeline.publisher import Publisher
from tests.fakes import ManualClock, MemoryStore, MemoryTopics
from tests.unit.api.conftest import settings
from worker import Payload, TaskContext, registry, task
from worker.data.steps import StepName
from worker.files.operations import OperationName


class Count(Payload):
    document: FileName
    words: list[str] = Field(examples=[["towel", "dog"]])
    unset: int = 3


@task("count_words")
def count_words(payload: Count, ctx: TaskContext) -> None:
    """Count some words of a document."""


@pytest.fixture(scope="module")
def offered() -> dict[str, Offer]:
    handlers = [*registry.load(["worker.handlers", "local.samples.handlers"]).values()]
    known = registry.Registry([*handlers, count_words.__poolhouse_handler__])  # type: ignore[attr-defined]
    publisher = Publisher(settings(), topics=MemoryTopics())
    app = create_app(settings(), store=MemoryStore(), publisher=publisher, registry=known, clock=ManualClock())
    return {offer.task_type: offer for offer in offers(app.openapi())}


def test_every_task_type_is_offered_and_those_of_the_project_are_told_apart(offered: dict[str, Offer]) -> None:
    assert {"file_processing", "data_transformation", "sample.echo", "count_words"} < offered.keys()
    assert [name for name, offer in offered.items() if offer.is_own] == ["count_words"]


def test_operations_and_steps_are_those_of_the_payloads(offered: dict[str, Offer]) -> None:
    assert offered["file_processing"].kinds == set(get_args(OperationName))
    assert offered["data_transformation"].kinds == set(get_args(StepName))
    assert offered["count_words"].kinds == set()


def test_an_example_names_the_upload_that_is_there(offered: dict[str, Offer]) -> None:
    example = offered["count_words"].example(upload="run/notes.txt")
    assert Count.model_validate(example) == Count(document="run/notes.txt", words=["towel", "dog"])
