"""The protocol of hooks, and what they are given."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Self

from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.records import ErrorInfo, TaskRecord

#: `retried`: it failed, and another follows. `failed`: refused for good. `dead`: it failed, and was the last.
#: `stopped`: the worker stops, another one goes on. `lost`: another worker has the task.
AttemptOutcome = Literal["succeeded", "retried", "failed", "dead", "cancelled", "stopped", "lost"]


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task as a hook sees it."""

    task_id: str
    task_type: str
    queue: str
    submitted_at: datetime
    #: W3C trace context (`traceparent`, `tracestate`) of its message; empty where there is none.
    trace: Mapping[str, str] = field(default_factory=dict)
    _payload: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def payload(self) -> Mapping[str, Any]:
        """Its payload: a copy, so that no hook changes the task. Empty where it is large and not read here."""
        return copy.deepcopy(dict(self._payload))

    @classmethod
    def of(
        cls,
        task: TaskMessage | TaskRecord,
        *,
        trace: Mapping[str, str] | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> Self:
        """What a message or a record says about a task.

        Args:
            task: the message or the record.
            trace: the trace context of a record's message.
            payload: instead of the task's own, where that is by reference.
        """
        return cls(
            task_id=task.task_id,
            task_type=task.task_type,
            queue=task.queue,
            submitted_at=task.submitted_at,
            trace=dict(task.trace if isinstance(task, TaskMessage) else trace or {}),
            _payload=task.payload if payload is None else payload,
        )


@dataclass(frozen=True, kw_only=True)
class AttemptInfo:
    """One attempt of a task."""

    task: TaskInfo
    #: From 1.
    number: int
    started_at: datetime
    #: Of the first attempt: seconds from the submit, or the time that the task was due. None for the others, and in the
    #: process of a `cpu=True` handler.
    waited_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended."""

    outcome: AttemptOutcome
    duration_s: float
    error: ErrorInfo | None = None
    #: When the next attempt may start, where the handler or its backoff says so.
    retry_at: datetime | None = None


class Hook:
    """Base of hooks: override what is needed, the rest costs nothing.

    Every method may be `async def`. What one raises is logged and counted, and changes nothing for the task.
    """

    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> Awaitable[None] | None:
        """A task is about to be published, in the process that submits it.

        Args:
            task: the task.
            trace: the trace context that its message will carry; a hook may change it.
        """

    def before(self, attempt: AttemptInfo) -> Awaitable[None] | None:
        """An attempt begins, in the worker process."""

    def around(self, attempt: AttemptInfo) -> AbstractContextManager[Any] | AbstractAsyncContextManager[Any]:
        """A context manager that is entered and left where the handler runs: its thread, event loop or process."""
        raise NotImplementedError

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> Awaitable[None] | None:
        """An attempt has ended and its outcome is durable, in the worker process."""

    def on_retry(self, attempt: AttemptInfo, end: AttemptEnd) -> Awaitable[None] | None:
        """An attempt has failed and another will follow; after `after`."""

    def on_death(self, task: TaskInfo, reason: str) -> Awaitable[None] | None:
        """A task has failed for good: refused, its attempts used up, or given up by Pub/Sub."""

    def on_cancel(self, task: TaskInfo) -> Awaitable[None] | None:
        """A task was cancelled: while it ran, in the worker process; while it waited, mostly in the API's."""

    def close(self) -> Awaitable[None] | None:
        """The API or the worker process ends: send what is kept back. Not called in handler processes."""
