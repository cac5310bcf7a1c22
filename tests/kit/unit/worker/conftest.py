"""One worker's engine on stand-ins: no Pub/Sub, no storage, a clock that the test moves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.control.state import NOTHING
from poolhouse.pipeline.groups.following import LinkedTasks
from poolhouse.pipeline.hooks import Hooks
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.after_end import Rule
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored
from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.traces.process_traces import ProcessTraces
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker.registry import load
from poolhouse.worker.runtime.admission.limits import Limits
from poolhouse.worker.runtime.attempts import Attempts
from poolhouse.worker.runtime.execution.executor import Executor
from poolhouse.worker.runtime.heartbeat import Heartbeat
from poolhouse.worker.runtime.quarantine import Quarantine
from poolhouse.worker.runtime.retrying import RetryUntilStopped
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.runtime.settlement import Settlement
from tests.kit.unit.worker import handlers

PIPELINE = Path(__file__).parents[4] / "pipeline.toml"


@dataclass
class FakeDelivery:
    """A delivery that remembers how it ended."""

    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    message_id: str = "m-1"
    queue: str = "default"
    attempt: int = 1
    ended: list[Any] = field(default_factory=list)

    def ack(self) -> None:
        self.ended.append("ack")

    def nack(self) -> None:
        self.ended.append("nack")

    def defer(self, seconds: float) -> None:
        self.ended.append(("defer", seconds))

    def hand_over(self, task_id: str) -> None:
        self.ended.append(("hand over", task_id))


class Engine:
    """`Attempts` and all that it stands on."""

    def __init__(self) -> None:
        self.settings = Settings(
            google_cloud_project="test-project", bucket_name="test-bucket", pipeline_file=str(PIPELINE)
        )
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.records = RecordStore(self.store)
        self.topics = MemoryTopics()
        self.task_ids = TaskIds(b"k" * 32)
        self.heartbeat = Heartbeat(now=self.clock)
        self.stopping = threading.Event()
        #: What is decided about the queues.
        self.control = NOTHING
        self.abandoned: list[int] = []
        self.resumed: list[Any] = []
        self.executor = Executor(task_handlers=("tests.kit.unit.worker.handlers",))
        self.after_end: Sequence[Rule] = (LinkedTasks(self.store, lambda: self.task_ids),)
        self.hooks = Hooks()
        self.traces: ProcessTraces | None = None
        self.attempts = self.another("worker-1")

    def services(self) -> Services:
        """What a worker on this queue and bucket works with."""
        return Services(
            topology=self.settings.topology,
            project=self.settings.google_cloud_project,
            registry=load(["tests.kit.unit.worker.handlers"]),
            store=self.store,
            bucket=self.settings.bucket_name,
            publisher=Publisher(self.settings, topics=self.topics),
            task_ids=self.task_ids,
            now=self.clock,
            retry_io=RetryUntilStopped(self.stopping),
            control=lambda: self.control,
            hooks=self.hooks,
            after_end=self.after_end,
        )

    def another(self, name: str) -> Attempts:
        """The engine of another worker on the same queue and bucket."""
        services = self.services()
        return Attempts(
            services,
            settlement=Settlement(services),
            limits=Limits(partial(self._resume, admitted=True), store=self.store, process=name, now=self.clock),
            quarantine=Quarantine(partial(self._resume, admitted=False)),
            executor=self.executor,
            heartbeat=self.heartbeat,
            traces=self.traces,
            worker_name=name,
            on_abandoned=self.abandoned.append,
        )

    def _resume(self, delivery: FakeDelivery, *, admitted: bool) -> None:
        self.resumed.append((delivery, admitted))

    def delivery(self, data: bytes, **fields: Any) -> FakeDelivery:
        return FakeDelivery(data=data, attributes={}, published_at=self.clock.now, **fields)

    def task(self, task_type: str, task_id: str = "t-1", *, attempt: int = 1, **payload: Any) -> FakeDelivery:
        message = TaskMessage(
            task_id=task_id, task_type=task_type, submitted_at=self.clock.now, queue="default", payload=payload
        )
        return FakeDelivery(
            data=message.data(), attributes=message.attributes(), published_at=self.clock.now, attempt=attempt
        )

    def record(self, task_id: str = "t-1") -> TaskRecord:
        stored = self.records.read(task_id)
        assert stored is not None
        return stored.record

    def claim(self, task: TaskMessage, stored: Stored | None, *, owner: str) -> Stored:
        """Claim a task from its record as another worker does, taking it over where that one's lease is over."""
        while True:
            claimed = transitions.claim(
                stored.record if stored else None,
                task,
                owner=owner,
                worker="w",
                now=self.clock.now,
                lease_s=20,
                max_attempts=5,
            )
            assert isinstance(claimed, transitions.Run | transitions.TakeOver)
            stored = self.records.write(claimed.record, if_generation=stored.generation if stored else ABSENT)
            if isinstance(claimed, transitions.Run):
                return stored

    @property
    def dead_letters(self) -> list[Mapping[str, str]]:
        """Attributes of what went to a dead-letter topic."""
        return [
            published.message.attributes
            for published in self.topics.published
            if published.topic.endswith("dead-letters")
        ]


@pytest.fixture
def engine() -> Iterator[Engine]:
    handlers.runs.clear()
    built = Engine()
    yield built
    built.executor.stop()
    built.heartbeat.stop()
