"""The record of a task; `poolhouse.pipeline.tasks.transitions` has the rules by which it changes.

Statuses: `scheduled` (waits for a time, `not_before`), `queued` (waits for a worker), `running`, and four that end a
task: `succeeded`, `failed` (the handler refused it for good, or its dead letter was discarded), `dead` (its attempts
are used up, or no worker can read it) and `cancelled`. `failed` by refusal and `dead` have a dead letter, which can be
replayed.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.json_values import Figure, Text, Traceback
from poolhouse.pipeline.tasks.large_values import ValueObject
from poolhouse.pipeline.tasks.links import Links


class Status(StrEnum):
    """Where a task is in its life."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self not in {Status.SCHEDULED, Status.QUEUED, Status.RUNNING}


class Outcome(StrEnum):
    """How an attempt ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # an error; retried while attempts are left
    REJECTED = "rejected"  # the handler said that no retry can help
    CANCELLED = "cancelled"
    STOPPED = "stopped"  # the worker was told to stop: not the task's fault, not counted
    LOST = "lost"  # the worker died, or lost its lease


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ErrorInfo(_Model):
    """What an attempt failed with."""

    type: Text
    message: Text
    traceback: Traceback | None = None


class Attempt(_Model):
    """One try of a task by one worker."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.RUNNING
    error: ErrorInfo | None = None


class Progress(_Model):
    """How far a running task says it is."""

    #: None where the handler does not know, as nan says.
    done: Figure
    total: Figure = None
    note: Text | None = None
    at: datetime


class ResultObject(_Model):
    """A result that is an object of its own."""

    name: str
    size_bytes: int
    content_type: str = "application/json"


class Step(_Model):
    """A step of a task that has ended, in whichever attempt: it is not run again."""

    name: str
    #: The attempt that ran it.
    attempt: int
    started_at: datetime
    ended_at: datetime
    #: What it returned; a large result is in `result_object`, until the task has ended.
    result: Any = None
    result_object: ValueObject | None = None
    #: Length of the result as JSON.
    size_bytes: int = 0


class FollowUp(_Model):
    """A task that a handler submitted; published once its own task has succeeded."""

    task_id: str
    task_type: str
    queue: str
    payload: dict[str, Any]
    not_before: datetime | None = None
    links: Links | None = None
    payload_object: ValueObject | None = None


#: Fields of a `TaskRecord` that workers keep for each other; the API leaves them out.
PRIVATE = frozenset({"owner", "write_token", "forgiven_attempts", "stops", "uncounted", "step", "follows"})


class TaskRecord(_Model, Links):
    """All that is kept of a task."""

    task_id: str
    task_type: str
    queue: str
    status: Status
    submitted_at: datetime
    updated_at: datetime
    payload: dict[str, Any] = {}
    #: The payload where it was too large for a message; deleted once the task has ended without a dead letter.
    payload_object: ValueObject | None = None
    attempts: tuple[Attempt, ...] = ()
    #: Who has the task now: a token of one attempt of one worker.
    owner: str | None = None
    #: Until when that owner may be taken to be alive.
    lease_until: datetime | None = None
    #: No attempt starts before this time.
    not_before: datetime | None = None
    cancel_requested_at: datetime | None = None
    #: The URL to call when it has ended; None: its type's, if any.
    webhook_url: str | None = None
    #: The trace that it was submitted in, where that is recorded.
    trace_id: str | None = None
    progress: Progress | None = None
    #: A small result itself; a large one is in `result_object`.
    result: Any = None
    result_object: ResultObject | None = None
    #: The limit that a queued task waits for, where it has waited for some seconds.
    waits_for: str | None = None
    #: Why the task is failed, dead or cancelled.
    reason: str | None = None
    #: Attempts of earlier lives, before the last replay: they don't count against the limit.
    forgiven_attempts: int = 0
    #: Attempts of this life that ended because their worker was told to stop: they don't count either.
    stops: int = 0
    #: Attempts of this life that ended by `Retry(counts=False)`.
    uncounted: int = 0
    replayed_at: tuple[datetime, ...] = ()
    #: When its dead letter was discarded: late copies of the message make no new one.
    discarded_at: datetime | None = None
    follow_ups: tuple[FollowUp, ...] = ()
    #: Groups that the handler made; their members are published once the task has succeeded.
    groups: tuple[Group, ...] | None = None
    #: Steps that have ended, in the order in which they did.
    steps: tuple[Step, ...] = ()
    #: Where a loop of the handler is, as it said last.
    cursor: Any = None
    #: A mark of this very write: after a lost answer it tells one's own write from another's.
    write_token: str = ""
    #: Which of the task's objects is the truth, kept by `RecordStore`: see `poolhouse.pipeline.tasks.record_version`.
    step: int = 0
    follows: int = 0

    @property
    def counted_attempts(self) -> int:
        """Attempts that count against the limit."""
        return self.last_attempt - self.forgiven_attempts - self.stops - self.uncounted

    @property
    def large_values(self) -> tuple[ValueObject, ...]:
        """The objects with its payload and the results of its steps, as far as these are too large for the record."""
        found = (self.payload_object, *(step.result_object for step in self.steps))
        return tuple(value for value in found if value is not None)

    @property
    def last_attempt(self) -> int:
        """The number of the newest attempt; 0 before the first."""
        return self.attempts[-1].number if self.attempts else 0
