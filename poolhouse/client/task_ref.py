"""A task that is not submitted yet: what `task.ref(payload)` returns, for groups, joins and chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from poolhouse.pipeline.messaging import payloads
from poolhouse.pipeline.tasks import current_task

if TYPE_CHECKING:
    from poolhouse.client.handles import AsyncTaskHandle, TaskHandle
    from poolhouse.client.task_type import TaskType

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class TaskRef(Generic[R]):
    """A task to submit, alone or as part of a group, with what follows it."""

    #: What it is a task of.
    of: TaskType[Any, R]
    payload: BaseModel | Mapping[str, Any]
    queue: str | None = None
    into: str | None = None
    chain: tuple[TaskRef[Any], ...] = ()
    failure: TaskRef[Any] | None = None

    def then(self, following: TaskRef[Any] | TaskType[Any, Any]) -> TaskRef[R]:
        """Return this task with another one behind all that follow it so far.

        The other one is published once the one before it has succeeded, and is handed its result: as the field that
        `ref(into=…)` names, else the result's own fields are the payload's. Fields that `ref` gives stay.
        """
        return replace(self, chain=(*self.chain, following if isinstance(following, TaskRef) else following.ref()))

    def on_failure(self, following: TaskRef[Any] | TaskType[Any, Any]) -> TaskRef[R]:
        """Return this task with one that follows where it, or one behind it, fails for good: failed, or dead.

        A field that `ref(into=…)` names is handed the failure: task_id, task_type, status and reason.
        """
        return replace(self, failure=following if isinstance(following, TaskRef) else following.ref())

    def body(self) -> dict[str, Any]:
        """The task as JSON, as calls of the API have it. Raises `ValueError` for a payload that has no such form."""
        payload = payloads.sent(self.payload) if isinstance(self.payload, BaseModel) else dict(self.payload)
        fields = {
            "task_type": self.of.task_type,
            "payload": payload,
            "queue": self.queue,
            "into": self.into,
            "then": [link.body() for link in self.chain] or None,
            "on_failure": None if self.failure is None else self.failure.body(),
        }
        return {name: value for name, value in fields.items() if value is not None}

    def submit(self, *, idempotency_key: str | None = None) -> TaskHandle[R]:
        """Submit it, as `TaskType.submit`; the handle is this task's, not that of one behind it."""
        from poolhouse.client import default, handles  # noqa: PLC0415 - handlers alone need no HTTP client

        ctx = current_task.context()
        if ctx is not None:
            _check_no_key(idempotency_key)
            return handles.TaskHandle(ctx.submit(self), self.of.result_adapter, client=None)
        return default.client().submit(self, idempotency_key=idempotency_key)

    async def submit_async(self, *, idempotency_key: str | None = None) -> AsyncTaskHandle[R]:
        """Submit it, as `submit`."""
        from poolhouse.client import default, handles  # noqa: PLC0415 - handlers alone need no HTTP client

        ctx = current_task.context()
        if ctx is not None:
            _check_no_key(idempotency_key)
            return handles.AsyncTaskHandle(ctx.submit(self), self.of.result_adapter, client=None)
        return await (await default.async_client()).submit(self, idempotency_key=idempotency_key)


def _check_no_key(key: str | None) -> None:
    if key is not None:
        raise ValueError(
            "idempotency_key: a task that a handler submits is the same in every attempt; leave the key out"
        )
