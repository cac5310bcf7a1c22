"""The application over fakes: bucket, queues and clock in memory, handlers of the test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from poolhouse.api import create_app, simple_call
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.names import INDEX, FileName
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, task
from poolhouse.worker.registry import Registry

PROJECT = "unit-api"
#: A declaration with queues, a schedule and a trigger, of the handlers below.
PIPELINE = """
[queues.default]
[queues.bulk]

[schedules.nightly]
cron = "30 3 * * *"
task_type = "data_transformation"
payload = { dataset_size = 10 }

[triggers.tables]
prefix = "uploads/in/"
suffix = ".csv"
task_type = "file_processing"
"""


class FileProcessing(Payload):
    filename: FileName
    processing_time: Annotated[float, Field(strict=True, ge=0, le=3600)] | None = None


class DataTransformation(Payload):
    dataset_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    columns: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class Anything(Payload):
    value: Any = None


class Stamped(Payload):
    label: str = ""
    stamp: str = Field(default_factory=lambda: uuid.uuid4().hex)


@task("file_processing")
def file_processing(payload: FileProcessing, ctx: TaskContext) -> None:
    """Look at a file."""


@task("data_transformation", queue="bulk")
def data_transformation(payload: DataTransformation, ctx: TaskContext) -> None:
    """Transform a table."""


@task("anything")
def anything(payload: Anything, ctx: TaskContext) -> None:
    """Take any value."""


@task("stamped")
def stamped(payload: Stamped, ctx: TaskContext) -> None:
    """Take a value that is made for each task."""


REGISTRY = Registry(
    handler
    for function in (file_processing, data_transformation, anything, stamped)
    for handler in function.__poolhouse_handlers__  # type: ignore[attr-defined]
)


@dataclass
class Api:
    """The application, a client of it, and what it stands on."""

    app: FastAPI
    client: TestClient
    store: MemoryStore
    topics: MemoryTopics
    clock: ManualClock
    settings: Settings

    @property
    def records(self) -> RecordStore:
        return RecordStore(self.store)

    @property
    def written(self) -> list[str]:
        """The objects written so far, without those of the index, which is written when it likes."""
        return [name for name in self.store.writes if not name.startswith(INDEX)]

    def submit(self, **body: Any) -> str:
        """Submit a task; its id."""
        answer = self.client.post("/submit-task", json={"task_type": "anything", **body})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])


def settings(**fields: Any) -> Settings:
    limits = {"publish_timeout_s": 1, "storage_timeout_s": 1}
    return Settings(google_cloud_project=PROJECT, bucket_name="unit-api-bucket", **{**limits, **fields})


def application(
    store: ObjectStore, topics: MemoryTopics, clock: ManualClock, *, environment: Settings | None = None, **seams: Any
) -> FastAPI:
    environment = environment or settings()
    app = create_app(
        environment,
        store=store,
        publisher=Publisher(environment, topics=topics),
        registry=REGISTRY,
        clock=clock,
        event_poll_s=0.01,
        **seams,
    )
    app.include_router(simple_call("/submit-file-task", "file_processing"))
    app.include_router(simple_call("/submit-data-task", "data_transformation"))
    return app


@pytest.fixture
def same_values_every_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep Hypothesis from drawing constants of the modules imported so far: those depend on the tests that ran before.

    There is no setting for it.
    """
    monkeypatch.setattr(providers, "_get_local_constants", Constants)
    providers.CONSTANTS_CACHE.cache.clear()
    yield
    providers.CONSTANTS_CACHE.cache.clear()


def without_lifespan(app: FastAPI) -> ASGIApp:
    """The application for schemathesis, which begins and ends a lifespan around every call."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    return served


@pytest.fixture
def api() -> Iterator[Api]:
    store, topics, clock = MemoryStore(), MemoryTopics(), ManualClock()
    app = application(store, topics, clock)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/ready")
        yield Api(app, client, store, topics, clock, settings())
