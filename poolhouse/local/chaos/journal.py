"""What storage itself saw: every write that took effect, from any client and with any answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from poolhouse.local.storage.proxy import Exchange, Mutation
from poolhouse.local.storage.proxy.requests import properties_in
from poolhouse.pipeline import names
from poolhouse.pipeline.tasks.records import Status


@dataclass(frozen=True, kw_only=True)
class Write:
    """One write of a small object."""

    name: str
    generation: int
    #: Of a record: the status that it was given.
    status: Status | None
    #: Of a record: the type of its task; empty while only a cancel call has looked at the task.
    task_type: str = ""
    #: Of a record: its place in the task's history, which is kept in objects that take turns.
    step: int = 0
    #: Of a record: the steps that its handler has taken, by name, and the attempt that ran each.
    handler_steps: Mapping[str, int] = field(default_factory=dict)


#: Where handlers note that a step runs.
MARKS = "chaos/"


def mark(task_id: str, step: str, attempt: int) -> str:
    """The object by which an attempt notes that it runs a step."""
    return f"{MARKS}{task_id}/{step}/{attempt}.json"


class Journal:
    """The writes of one bucket; `see` is for a `FaultProxy`. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writes: dict[str, list[Write]] = {}
        #: Changes that came too early for Cloud Storage's rates, where those are enforced.
        self.refused: list[Mutation] = []

    def see(self, exchange: Exchange) -> None:
        """Note an exchange, if it is a write that took effect."""
        write = parse(exchange)
        if write is not None:
            with self._lock:
                self._writes.setdefault(write.name, []).append(write)

    def see_refused(self, mutation: Mutation) -> None:
        """Note a change that came too early; for `WriteLimits`."""
        with self._lock:
            self.refused.append(mutation)

    def writes(self, prefix: str) -> dict[str, tuple[Write, ...]]:
        """The writes of the objects below a prefix, each object's in the order in which they took effect."""
        with self._lock:
            return {
                name: tuple(sorted(writes, key=lambda write: write.generation))
                for name, writes in self._writes.items()
                if name.startswith(prefix)
            }

    def open_tasks(self, task_ids: set[str]) -> set[str]:
        """Those of the tasks whose records have not been given a final status."""
        with self._lock:
            return {
                task_id
                for task_id in task_ids
                if not any(
                    write.status is not None and write.status.final
                    for name in (names.record(task_id), names.claim(task_id))
                    for write in self._writes.get(name, ())
                )
            }


def parse(exchange: Exchange) -> Write | None:
    """The write that an exchange was; None if it was none, or failed."""
    if exchange.method != "POST" or "uploadType=multipart" not in exchange.target or exchange.status != 200:
        return None
    if exchange.sent is None or exchange.answer is None:
        return None
    properties = properties_in(exchange.sent)
    if not properties:
        return None
    metadata = properties.get("metadata", {})
    status = metadata.get("status")
    return Write(
        name=properties["name"],
        generation=int(json.loads(exchange.answer)["generation"]),
        status=None if status is None else Status(status),
        task_type=metadata.get("task_type", ""),
        step=int(metadata.get("step", 0)),
        handler_steps={} if b'"steps"' not in exchange.sent else _steps(exchange.sent),
    )


def _steps(sent: bytes) -> dict[str, int]:
    """The steps in a record, which is the second part of the body."""
    content = sent.split(b"\r\n\r\n", 2)[2]
    record = json.loads(content[: content.rindex(b"\r\n--")])
    return {step["name"]: step["attempt"] for step in record.get("steps", ())}
