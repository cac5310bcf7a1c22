"""A task type as code refers to it: its name, the model of its payload, and the type of its result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from poolhouse.client.task_ref import TaskRef
from poolhouse.pipeline import json_values
from poolhouse.pipeline.messaging import payloads
from poolhouse.pipeline.tasks import current_task

if TYPE_CHECKING:
    from poolhouse.client.handles import AsyncTaskHandle, TaskHandle

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")


class TaskType(Generic[P, R]):
    """A reference to a task type. `@task` makes one of each handler.

    A program that has the models but not the handlers makes its own:

        greet = TaskType("greet", Greet, Greeting)
    """

    def __init__(self, name: str, payload_type: type[P], result_type: type[R]) -> None:
        """Refer to a task type.

        Args:
            name: the task type's name.
            payload_type: the model of its payload.
            result_type: what its handler returns.
        """
        self.task_type = name
        self.payload_type = payload_type
        self.result_type = result_type

    def __repr__(self) -> str:
        return f"<task type {self.task_type}>"

    @cached_property
    def result_adapter(self) -> TypeAdapter[R]:
        """What reads a result; as it is, where pydantic does not know the type."""
        return json_values.adapter(self.result_type)

    def ref(
        self, payload: P | Mapping[str, Any] | None = None, *, queue: str | None = None, into: str | None = None
    ) -> TaskRef[R]:
        """Return a task that is not submitted yet: for a group, a chain, or what follows a failure.

        Args:
            payload: what the handler is given; of a task that follows another, the part that is known before.
            queue: instead of the task type's own.
            into: the payload's field that takes what came before: the result of the task before it in a chain, or the
                failure that it follows.
        """
        return TaskRef(of=self, payload={} if payload is None else payload, queue=queue, into=into)

    def submit(
        self,
        payload: P,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        webhook_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> TaskHandle[R]:
        """Submit a task of this type.

        In a handler it becomes a follow-up, as by `ctx.submit`: published once the running task has succeeded, and the
        same one in every attempt. Anywhere else the API that the environment names (POOLHOUSE_API_URL) is called.

        Args:
            payload: what the handler is given.
            queue: instead of the task type's own.
            delay_s: seconds from this call before which it does not run.
            run_at: the time, with its zone, before which it does not run; instead of `delay_s`.
            webhook_url: the URL to call when it has ended; not in a handler, where `on_complete` of the type counts.
            idempotency_key: the same key with the same payload gives the same task, however often; not in a handler,
                whose follow-ups need none.

        Raises:
            ApiError: the API refused the task or did not answer.
            ConfigError: POOLHOUSE_API_URL is not set.
            ValueError: the payload, the time or the key can't be.
        """
        from poolhouse.client import default, handles  # noqa: PLC0415 - handlers alone need no HTTP client

        ctx = current_task.context()
        if ctx is not None:
            _check_outside(idempotency_key=idempotency_key, webhook_url=webhook_url)
            task_id = ctx.submit(self, payload, queue=queue, delay_s=delay_s, run_at=run_at)
            return handles.TaskHandle(task_id, self.result_adapter, client=None)
        return default.client().submit(
            self,
            payload,
            queue=queue,
            delay_s=delay_s,
            run_at=run_at,
            webhook_url=webhook_url,
            idempotency_key=idempotency_key,
        )

    async def submit_async(
        self,
        payload: P,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        webhook_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncTaskHandle[R]:
        """Submit a task of this type; arguments and errors are those of `submit`."""
        from poolhouse.client import default, handles  # noqa: PLC0415 - handlers alone need no HTTP client

        ctx = current_task.context()
        if ctx is not None:
            _check_outside(idempotency_key=idempotency_key, webhook_url=webhook_url)
            task_id = ctx.submit(self, payload, queue=queue, delay_s=delay_s, run_at=run_at)
            return handles.AsyncTaskHandle(task_id, self.result_adapter, client=None)
        client = await default.async_client()
        return await client.submit(
            self,
            payload,
            queue=queue,
            delay_s=delay_s,
            run_at=run_at,
            webhook_url=webhook_url,
            idempotency_key=idempotency_key,
        )


def name_of(task_type: str | TaskType[Any, Any]) -> str:
    """Return the name of a task type, which may be given by its name or by a reference."""
    return task_type.task_type if isinstance(task_type, TaskType) else task_type


def fields_of(payload: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload as JSON values.

    Raises:
        TypeError: it is neither a model nor a mapping.
        ValueError: a model that would be another after its way as JSON.
    """
    payloads.check_kind(payload)
    return payloads.sent(payload) if isinstance(payload, BaseModel) else dict(payload)


def _check_outside(*, idempotency_key: str | None, webhook_url: str | None) -> None:
    if idempotency_key is not None:
        raise ValueError(
            "idempotency_key: a task that a handler submits is the same in every attempt; leave the key out"
        )
    if webhook_url is not None:
        raise ValueError(
            "webhook_url: a task that a handler submits has the webhook of its type: use @task(on_complete=…)"
        )
