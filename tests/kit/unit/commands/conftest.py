"""The real API over fakes, reached by HTTP, and a terminal whose output a test can read."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from rich.console import Console

from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal
from poolhouse.local.processes import ports
from poolhouse.pipeline.tasks.dead_letter import Kept
from poolhouse.pipeline.tasks.dead_letter_attributes import MESSAGE_ID, PUBLISHED_AT, REASON
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.unit.api.conftest import PIPELINE, application, settings


@dataclass
class Served:
    """A running API, a client of it, and what it stands on."""

    api: Client
    store: MemoryStore
    topics: MemoryTopics
    clock: ManualClock
    queues: tuple[str, ...]

    @property
    def published(self) -> list[dict[str, Any]]:
        return [json.loads(published.message.data) for published in self.topics.published]

    @property
    def dead(self) -> list[str]:
        return [letter["task_id"] for letter in self.api.pages("/dead-letters", "dead_letters")]

    def bury(
        self,
        task_type: str = "anything",
        *,
        reason: str = "it would not work",
        data: bytes | None = None,
        before: Callable[[str], object] = lambda task_id: None,
        trace: Mapping[str, str] | None = None,
        **payload: Any,
    ) -> str:
        """Submit a task, call `before` with its id, and let it die; its id."""
        self.api.post("/tasks", {"task_type": task_type, "payload": payload})
        published = self.topics.published[-1]
        before(json.loads(published.message.data)["task_id"])
        queue = published.message.attributes["queue"]
        attributes = {
            **published.message.attributes,
            **(trace or {}),
            REASON: reason,
            MESSAGE_ID: "17",
            PUBLISHED_AT: self.clock().isoformat(),
        }
        box = DeadLetterStore(self.store, queues=self.queues, task_ids=load_task_ids(self.store))
        verdict = box.keep(queue, data or published.message.data, attributes, message_id="18", now=self.clock())
        assert verdict.kept is Kept.KEPT
        self.topics.published.clear()
        return verdict.task_id


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    environment = settings(pipeline_file=str(tmp_path / "pipeline.toml"), show_tracebacks=True)
    store, topics, clock = MemoryStore(), MemoryTopics(), ManualClock()
    app = application(store, topics, clock, environment=environment)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, ws="none", loop="asyncio", lifespan="on", timeout_graceful_shutdown=1)
    )
    with ports.listen(0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        # The socket listens already: the first call waits for the start.
        api = Client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout_s=20, sleep=lambda _: None)
        try:
            yield Served(api, store, topics, clock, tuple(environment.topology.by_name))
        finally:
            api.close()
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@dataclass
class Screen:
    """A terminal whose output can be read."""

    out: io.StringIO = field(default_factory=io.StringIO)
    err: io.StringIO = field(default_factory=io.StringIO)

    @property
    def terminal(self) -> Terminal:
        return Terminal(
            out=Console(file=self.out, width=1000, highlight=False, soft_wrap=True),
            err=Console(file=self.err, width=1000, highlight=False, soft_wrap=True),
        )

    @property
    def rows(self) -> list[list[str]]:
        """The lines of output, each as its columns."""
        return [line.split() for line in self.out.getvalue().splitlines()]

    @property
    def said(self) -> str:
        return self.err.getvalue().strip()


@pytest.fixture
def screen() -> Screen:
    return Screen()
