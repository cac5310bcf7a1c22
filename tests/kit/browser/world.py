"""A real stack whose code is replaced while it runs: what the console's tests look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from poolhouse.client.answers import Document
from poolhouse.local.backend import UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports

HANDLER = '''
from poolhouse import Payload, Reject, Retry, TaskContext, task

class Weigh(Payload):
    """What to weigh."""
    name: str
    grams: int = 5

@task("weigh")
def weigh(payload: Weigh, ctx: TaskContext) -> dict[str, int]:
    """Weigh a thing."""
    ctx.log.info("weighing", name=payload.name)
    if payload.grams < 0:
        raise Reject(f"{payload.name} weighs nothing")
    return {payload.name: payload.grams}

@task("parcel")
def parcel(payload: Weigh, ctx: TaskContext) -> None:
    """Weigh a thing once the scale is free."""
    if ctx.attempt == 1:
        raise Retry("the scale is in use", after_s=0.1)
    ctx.submit("weigh", {"name": payload.name})
'''

#: What the project's own pipeline.toml is followed by.
TRIGGER = """
[triggers.tables]
prefix = "uploads/looks/"
suffix = ".csv"
task_type = "weigh"
field = "name"
"""


@dataclass(frozen=True)
class World:
    """The stack, and the module that its handlers are in."""

    api_url: str
    console_url: str
    handler: Path

    def submit(
        self, task_type: str, *, queue: str | None = None, delay_s: float | None = None, **payload: object
    ) -> str:
        """Submit a task; returns its id."""
        body = {"task_type": task_type, "queue": queue, "payload": payload, "delay_s": delay_s}
        return str(self._post("/tasks", body)["task_id"])

    def submit_group(self, task_type: str, payloads: Sequence[object]) -> str:
        """Submit a group of tasks of a type; returns its id."""
        tasks = [{"task_type": task_type, "payload": payload} for payload in payloads]
        return str(self._post("/groups", {"tasks": tasks})["group_id"])

    def run(self, schedule: str) -> str:
        """Run a schedule now; returns the id of its task."""
        return str(self._post(f"/schedules/{schedule}:run", {})["task_id"])

    def _post(self, path: str, body: object) -> Document:
        answer = requests.post(f"{self.api_url}{path}", json=body, timeout=10)
        assert answer.status_code == 202, answer.text
        document: Document = answer.json()
        return document


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """The stack, until the context ends."""
    handler = folder / "code" / "weighing.py"
    handler.parent.mkdir()
    handler.write_text(HANDLER)
    pipeline = folder / "pipeline.toml"
    pipeline.write_text(Path("pipeline.toml").read_text() + TRIGGER)
    backend = Embedded(folder / "state")
    options = UpOptions(
        api_port=ports.choose(),
        console_port=ports.choose(),
        timeout_s=120,
        attached=True,
        reload=True,
        environment={
            "PIPELINE_FILE": str(pipeline),
            "TASK_HANDLERS": "worker.handlers,weighing",
            "PYTHONPATH": str(handler.parent),
            "TRACES_EXPORTER": "file",
        },
    )
    endpoints = backend.up(options, lambda _: None)
    try:
        assert endpoints.console_url is not None
        yield World(endpoints.api_url, endpoints.console_url, handler)
    finally:
        backend.down()
