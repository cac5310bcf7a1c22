"""A pipeline on a whole stack, whose workers go on while a test looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from poolhouse.local.backend import Endpoints
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord
from poolhouse.testing import served_api, stack_pipeline
from poolhouse.testing.doubles import MemoryStore
from poolhouse.testing.stack_pipeline import StackPipeline
from poolhouse.worker import Payload, TaskContext
from poolhouse.worker.registry import Handler, Registry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PARENT, CHILD = "parent", "child"


class Nothing(Payload):
    pass


def work(payload: Nothing, ctx: TaskContext) -> None:
    """Never called: the workers are made up."""


HANDLER = Handler(task_type="work", function=work, payload_type=Nothing)


def record(task_id: str, status: Status, **fields: object) -> TaskRecord:
    given = {"task_type": "work", "queue": "default", "submitted_at": NOW, "updated_at": NOW, "payload": {}}
    return TaskRecord.model_validate({"task_id": task_id, "status": status, **given, **fields})


class Workers(RecordStore):
    """Records that workers change, one step after each look at the parent's."""

    def __init__(self, store: MemoryStore, steps: Iterator[TaskRecord]) -> None:
        super().__init__(store)
        self._steps = steps

    def read(self, task_id: str) -> Stored | None:
        found = super().read(task_id)
        if task_id == PARENT and (following := next(self._steps, None)) is not None:
            known = super().read(following.task_id)
            super().write(following, if_generation=known.generation if known else ABSENT)
        return found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    store = MemoryStore()
    monkeypatch.setattr(stack_pipeline, "GcsStore", lambda *_, **__: store)
    monkeypatch.setattr(served_api, "submit", lambda *_: PARENT)
    return store


def test_what_a_task_submitted_that_ended_between_two_looks_is_waited_for(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = FollowUp(task_id=CHILD, task_type="work", queue="default", payload={})
    steps = [
        record(PARENT, Status.SUCCEEDED, follow_ups=(child,)),
        record(CHILD, Status.RUNNING),
        record(CHILD, Status.SUCCEEDED),
    ]
    RecordStore(store).write(record(PARENT, Status.RUNNING), if_generation=ABSENT)
    monkeypatch.setattr(stack_pipeline, "RecordStore", lambda store: Workers(store, iter(steps)))
    nowhere = "http://127.0.0.1:9"
    endpoints = Endpoints(
        api_url=nowhere, pubsub_host="127.0.0.1:9", storage_url=nowhere, project="unit", bucket="unit-bucket"
    )
    pipeline = StackPipeline(
        Settings(google_cloud_project="unit", bucket_name="unit-bucket"),
        registry=Registry([HANDLER]),
        endpoints=endpoints,
        level="embedded",
    )
    pipeline.submit("work")
    pipeline.run_until_idle()
    found = RecordStore(store).read(CHILD)
    assert found is not None
    assert found.record.status is Status.SUCCEEDED
    pipeline.close()
