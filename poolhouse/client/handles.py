"""Handles: a submitted task, and what can be asked of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from pydantic import TypeAdapter

from poolhouse.client import calls
from poolhouse.client.answers import Document
from poolhouse.client.event_stream import Event
from poolhouse.pipeline.tasks.records import Status

if TYPE_CHECKING:
    from poolhouse.client.async_client import AsyncClient
    from poolhouse.client.client import Client

R = TypeVar("R")


class TaskHandle(Generic[R]):
    """A task. Every method may raise `ApiError`."""

    def __init__(self, task_id: str, result_adapter: TypeAdapter[R], *, client: Client | None) -> None:
        """Refer to a task.

        Args:
            task_id: its id.
            result_adapter: reads its result.
            client: of the API that has it; None for a follow-up, which is not submitted before its handler has ended.
        """
        self.task_id = task_id
        self._adapter = result_adapter
        self._client = client

    def __repr__(self) -> str:
        return f"<task {self.task_id}>"

    def status(self) -> Status:
        """Return its status."""
        return Status(self.record()["status"])

    def record(self) -> Document:
        """Return its record: attempts, progress, times. One that no worker has touched has its status and time only."""
        return self._api.send(calls.record(self.task_id))

    def result(self, *, timeout_s: float | None = None) -> R:
        """Wait for its end, on the event stream, and return its result.

        Args:
            timeout_s: the longest wait, in seconds; None: until it ends.

        Raises:
            ResultTimeout: it has not ended in that time; it goes on.
            TaskFailed: it ended without a result: failed, dead or cancelled.
        """
        self._api.wait(self.task_id, timeout_s=timeout_s)
        return self._api.send(calls.result(self.task_id, self._adapter))

    def cancel(self) -> Status:
        """Cancel it; `running` where its handler is still to be notified. `ApiError` 409: it has ended already."""
        return self._api.send(calls.cancel(self.task_id))

    def events(self) -> Iterator[Event]:
        """Yield what happens to it until it has ended."""
        return self._api.events(self.task_id)

    @property
    def _api(self) -> Client:
        return self._client if self._client is not None else _refuse(self.task_id)


class AsyncTaskHandle(Generic[R]):
    """A task, for asyncio. Every method may raise `ApiError`."""

    def __init__(self, task_id: str, result_adapter: TypeAdapter[R], *, client: AsyncClient | None) -> None:
        """Refer to a task; arguments as of `TaskHandle`."""
        self.task_id = task_id
        self._adapter = result_adapter
        self._client = client

    def __repr__(self) -> str:
        return f"<task {self.task_id}>"

    async def status(self) -> Status:
        """Return its status."""
        return Status((await self.record())["status"])

    async def record(self) -> Document:
        """Return its record, as `TaskHandle.record`."""
        return await self._api.send(calls.record(self.task_id))

    async def result(self, *, timeout_s: float | None = None) -> R:
        """Wait for its end and return its result, as `TaskHandle.result`."""
        await self._api.wait(self.task_id, timeout_s=timeout_s)
        return await self._api.send(calls.result(self.task_id, self._adapter))

    async def cancel(self) -> Status:
        """Cancel it, as `TaskHandle.cancel`."""
        return await self._api.send(calls.cancel(self.task_id))

    def events(self) -> AsyncIterator[Event]:
        """Yield what happens to it until it has ended."""
        return self._api.events(self.task_id)

    @property
    def _api(self) -> AsyncClient:
        return self._client if self._client is not None else _refuse(self.task_id)


class GroupHandle(Generic[R]):
    """A group of tasks, `R` the result of its join. Every method may raise `ApiError`."""

    def __init__(self, group_id: str, join: TaskHandle[R] | None, *, client: Client) -> None:
        """Refer to a group.

        Args:
            group_id: its id.
            join: the task that runs once all members have ended; None where it has none.
            client: of the API that has it.
        """
        self.group_id = group_id
        self.join = join
        self._client = client

    def __repr__(self) -> str:
        return f"<group {self.group_id}>"

    def state(self) -> Document:
        """Return how it gets on: its status, and its members counted by status."""
        return self._client.send(calls.group(self.group_id))

    def cancel(self) -> Document:
        """Cancel it: no further member starts, nor the join. `ApiError` 409: its join has ended already."""
        return self._client.send(calls.cancel_group(self.group_id))


class AsyncGroupHandle(Generic[R]):
    """A group of tasks, for asyncio. Every method may raise `ApiError`."""

    def __init__(self, group_id: str, join: AsyncTaskHandle[R] | None, *, client: AsyncClient) -> None:
        """Refer to a group; arguments as of `GroupHandle`."""
        self.group_id = group_id
        self.join = join
        self._client = client

    def __repr__(self) -> str:
        return f"<group {self.group_id}>"

    async def state(self) -> Document:
        """Return how it gets on, as `GroupHandle.state`."""
        return await self._client.send(calls.group(self.group_id))

    async def cancel(self) -> Document:
        """Cancel it, as `GroupHandle.cancel`."""
        return await self._client.send(calls.cancel_group(self.group_id))


def _refuse(task_id: str) -> NoReturn:
    raise RuntimeError(
        f"task {task_id} is a follow-up: it is published once this handler has succeeded, and can't be waited for or "
        "looked up before. Return its task_id, or let the follow-up do the rest"
    )
