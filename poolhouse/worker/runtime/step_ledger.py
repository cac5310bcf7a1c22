"""The steps of a task in hand, kept in its record: at most one write a second, like progress."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

from poolhouse.pipeline.tasks import large_values
from poolhouse.pipeline.tasks.records import Step
from poolhouse.worker.runtime.retrying import Stopping
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.steps import unrecorded

if TYPE_CHECKING:
    from poolhouse.worker.runtime.running_task import RunningTask

#: Bytes of all results of a task's steps that its record holds; what goes beyond is an object of its own.
INLINE_BYTES = 64 * 1024


class StepLedger:
    """`Ledger` of one attempt in a worker. Thread-safe."""

    def __init__(self, running: RunningTask, services: Services) -> None:
        self._running = running
        self._store = services.store
        self._retry_io = services.retry_io
        self._now: Callable[[], datetime] = services.now

    def find(self, name: str) -> Step | None:
        if not self._running.recorded:
            raise RuntimeError(unrecorded(self._running.record.task_type))
        return next((step for step in self._running.steps if step.name == name), None)

    def load(self, step: Step) -> bytes:
        value = step.result_object
        if value is None:
            return to_json(step.result)
        return self._retry_io(lambda: large_values.read_bytes(self._store, value))

    def record(self, name: str, result: bytes, *, started_at: datetime) -> None:
        running = self._running
        if running.ended:
            raise RuntimeError("the attempt has ended: no step can be recorded for it any more")
        inline = sum(step.size_bytes for step in running.steps if step.result_object is None)
        large = inline + len(result) > INLINE_BYTES
        value = large_values.payload_object(running.record.task_id, result) if large else None
        # A worker that stops leaves the rest to the attempt's end, which writes what is not written yet.
        with contextlib.suppress(Stopping):
            if value is not None:
                self._retry_io(lambda: large_values.write(self._store, value, result))
            running.add_step(
                Step(
                    name=name,
                    attempt=running.record.last_attempt,
                    started_at=started_at,
                    ended_at=self._now(),
                    result=None if large else from_json(result),
                    result_object=value,
                    size_bytes=len(result),
                )
            )
            self._retry_io(lambda: running.renew(now=self._now))
