"""A task while its handler runs: its record, and what is still to be written to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from poolhouse.pipeline.errors import PreconditionFailed
from poolhouse.pipeline.hooks import AttemptInfo, Chain, TaskInfo
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored, written_by
from poolhouse.pipeline.tasks.records import Progress, Step, TaskRecord
from poolhouse.worker.errors import Interrupted, LeaseLost, TaskCancelled
from poolhouse.worker.registry import Handler

#: Least time from the answer to a write until progress is written again, in seconds: Cloud Storage takes one write a
#: second of an object's name.
PROGRESS_INTERVAL_S = 1.0


class RunningTask:
    """One attempt in hand. The handler's thread and the keeper's change it, so every method takes its lock."""

    def __init__(
        self,
        stored: Stored,
        handler: Handler,
        *,
        started_s: float,
        store: RecordStore | None,
        lease_s: float,
        hooks: Chain | None = None,
        trace: Mapping[str, str] | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Wrap a record just claimed.

        Args:
            stored: the claimed record; generation `ABSENT` where the handler keeps no record.
            started_s: when the attempt began, on a monotonic clock.
            store: where the record is kept; None where the handler keeps none.
            lease_s: length of the record's lease, in seconds.
            hooks: of its task type; None where the deployment has none.
            trace: the trace context of its message.
            due_at: the time before which it was not to run.
        """
        self.handler = handler
        self.started_s = started_s
        self.lease_s = lease_s
        self.hooks = hooks
        self.trace = trace or {}
        self._due_at = due_at
        self._stored = stored
        self._store = store
        #: The task's payload: the record's own, or what its object holds once that is read.
        self.payload: Mapping[str, Any] = stored.record.payload
        #: Marks our writes: one that took effect though storage did not answer is told from another worker's.
        self._writer = stored.record.owner or ""
        self._interruption: Interrupted | None = None
        self._progress: Progress | None = None
        #: Steps, and a cursor, that are not written yet.
        self._new_steps: tuple[Step, ...] = ()
        self._new_cursor: tuple[Any] | None = None
        #: When the last write was answered, as far as is known here.
        self._answered_at = stored.record.updated_at
        self._lock = threading.RLock()
        self.ended = False
        #: Whether the handler has been told to end: a checkpoint has raised, or its coroutine was cancelled.
        self.told = False
        #: Set by the executor: how to end it from outside at a soft and at a hard limit.
        self.interrupt_handler: Callable[[Interrupted], None] = lambda interruption: None
        self.abandon_handler: Callable[[], None] = lambda: None

    @property
    def record(self) -> TaskRecord:
        """The record as this worker last wrote it."""
        return self._stored.record

    @cached_property
    def info(self) -> AttemptInfo:
        """The attempt as hooks see it."""
        attempt = self.record.attempts[-1]
        return AttemptInfo(
            task=TaskInfo.of(self.record, trace=self.trace, payload=self.payload),
            number=attempt.number,
            started_at=attempt.started_at,
            waited_s=self.waited_s,
        )

    @property
    def waited_s(self) -> float | None:
        """How long the task waited for its first attempt once it was due, in seconds; None in later attempts."""
        attempt, submitted_at = self.record.attempts[-1], self.record.submitted_at
        if attempt.number > 1:
            return None
        return max(0.0, (attempt.started_at - max(submitted_at, self._due_at or submitted_at)).total_seconds())

    @property
    def interruption(self) -> Interrupted | None:
        """Why the handler should end, if it should."""
        return self._interruption

    @property
    def recorded(self) -> bool:
        """Whether a record is kept."""
        return self._store is not None

    def interrupt(self, interruption: Interrupted) -> None:
        """Let the next checkpoint raise; the first reason counts, but a lost lease beats all."""
        with self._lock:
            if self.ended or (self._interruption is not None and not isinstance(interruption, LeaseLost)):
                return
            self._interruption = interruption
        self.interrupt_handler(interruption)

    def set_progress(self, progress: Progress) -> None:
        """Remember the newest progress; the keeper writes it."""
        self._progress = progress

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that have ended, written or not."""
        with self._lock:
            return (*self.record.steps, *self._new_steps)

    def add_step(self, step: Step) -> None:
        """Remember a step that has ended; the next write has it."""
        with self._lock:
            self._new_steps = (*self._new_steps, step)

    @property
    def cursor(self) -> Any:
        """The cursor as it was set last."""
        new = self._new_cursor
        return self.record.cursor if new is None else new[0]

    def set_cursor(self, value: Any) -> None:
        """Remember the newest cursor; the keeper writes it, as it does progress."""
        self._new_cursor = (value,)

    def renew(self, *, now: Callable[[], datetime]) -> bool:
        """Write a new lease once it is half over, and what is new at most once in `PROGRESS_INTERVAL_S`.

        Args:
            now: tells the time; asked again once the write is answered.

        Returns:
            Whether anything was written.
        """
        with self._lock:
            if self.ended or self._store is None:
                return False
            at, lease_until = now(), self.record.lease_until
            due = lease_until is None or (lease_until - at).total_seconds() < self.lease_s / 2
            if self._progress is not None or self._new_steps or self._new_cursor is not None:
                due |= (at - self._answered_at).total_seconds() >= PROGRESS_INTERVAL_S
            if due:
                progress, self._progress = self._progress, None
                self._write(lambda record: transitions.renewed(record, now=at, lease_s=self.lease_s, progress=progress))
                self._answered_at = now()
            return due

    def look(self) -> None:
        """Check whether the record was changed elsewhere: a cancel call, or another worker that took over."""
        with self._lock:
            if self.ended or self._store is None:
                return
            if self._store.generation(self.record.task_id) != self._stored.generation:
                self._refresh()

    def finish(self, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        """Write the attempt's end, whatever a cancel call wrote meanwhile.

        Raises:
            LeaseLost: another worker has taken over; its outcome counts, not ours.
            StoreUnavailable: not written; may be called again.
        """
        with self._lock:
            if self._store is None:
                self._stored = Stored(change(self.record), ABSENT)
            else:
                self._write(change)
            return self.record

    @property
    def progress(self) -> Progress | None:
        """Progress not yet written."""
        return self._progress

    def _write(self, change: Callable[[TaskRecord], TaskRecord]) -> None:
        assert self._store is not None
        while True:
            steps, cursor = self._new_steps, self._new_cursor
            record = self.record
            if steps or cursor is not None:
                record = transitions.carried_on(record, steps=steps, cursor=cursor)
            try:
                self._stored = self._store.write(
                    change(record), if_generation=self._stored.generation, writer=self._writer
                )
                self._new_steps = ()
                if self._new_cursor is cursor:  # else the handler has gone on meanwhile
                    self._new_cursor = None
                return
            except PreconditionFailed:
                self._refresh()
                if self.record.owner is None:
                    return  # it is our own end, written before, when no answer came

    def _refresh(self) -> None:
        """Read what was written meanwhile, such as a cancel call; raises `LeaseLost` where another worker took over."""
        assert self._store is not None
        current = self._store.read(self.record.task_id)
        if current is None or not (current.record.owner == self._writer or written_by(current.record, self._writer)):
            lost = LeaseLost(f"another worker has task {self.record.task_id} now")
            self.interrupt(lost)
            raise lost
        self._stored = current
        if current.record.cancel_requested_at is not None:
            self.interrupt(TaskCancelled(f"task {self.record.task_id} was cancelled"))
