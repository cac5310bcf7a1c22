"""The API's client for asyncio."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Any, Self, TypeVar, overload

import httpx2
from pydantic import BaseModel, TypeAdapter

from poolhouse.client import answers, calls, event_stream, target
from poolhouse.client.answers import Document
from poolhouse.client.calls import Call
from poolhouse.client.errors import ApiError
from poolhouse.client.event_stream import Event, Following, Wait
from poolhouse.client.files import AsyncFiles
from poolhouse.client.handles import AsyncGroupHandle, AsyncTaskHandle
from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import P, R, TaskType
from poolhouse.pipeline.groups.group import WaitFor

_T = TypeVar("_T")
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class AsyncClient:
    """Calls of one pipeline's API; used in the event loop of its first call. Every method may raise `ApiError`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Callable[[], str] | None = None,
        audience: str | None = None,
        timeout_s: float = target.TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Connect at the first call; arguments and errors are those of `Client`. `token` is called on a thread."""
        self._target = target.target(url, token=token, audience=audience, timeout_s=timeout_s, headers=headers)
        self._http = httpx2.AsyncClient(**self._target.options())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sleep = sleep
        #: Where the API is.
        self.url = self._target.url
        #: Whether that is this machine.
        self.here = self._target.here
        #: Uploads and downloads.
        self.files = AsyncFiles(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @overload
    async def submit(
        self,
        task_type: TaskType[P, R],
        payload: P,
        *,
        queue: str | None = ...,
        delay_s: float | None = ...,
        run_at: datetime | None = ...,
        webhook_url: str | None = ...,
        idempotency_key: str | None = ...,
    ) -> AsyncTaskHandle[R]: ...
    @overload
    async def submit(self, task_type: TaskRef[R], *, idempotency_key: str | None = ...) -> AsyncTaskHandle[R]: ...
    @overload
    async def submit(
        self,
        task_type: str,
        payload: BaseModel | Mapping[str, Any],
        *,
        queue: str | None = ...,
        delay_s: float | None = ...,
        run_at: datetime | None = ...,
        webhook_url: str | None = ...,
        idempotency_key: str | None = ...,
    ) -> AsyncTaskHandle[Any]: ...
    async def submit(
        self,
        task_type: str | TaskType[Any, Any] | TaskRef[Any],
        payload: BaseModel | Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        webhook_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncTaskHandle[Any]:
        """Submit a task; returns once the queue has it. Arguments as of `TaskType.submit`."""
        if isinstance(task_type, TaskRef):
            call = calls.submit_ref(task_type, idempotency_key=idempotency_key)
            return self._handle(await self.send(call), task_type.of)
        payload = {} if payload is None else payload
        call = calls.submit(
            task_type,
            payload,
            queue=queue,
            delay_s=delay_s,
            run_at=run_at,
            webhook_url=webhook_url,
            idempotency_key=idempotency_key,
        )
        return self._handle(await self.send(call), task_type)

    async def group(
        self,
        members: Iterable[TaskRef[Any]],
        *,
        then: TaskRef[R] | None = None,
        on_failure: TaskRef[Any] | None = None,
        wait_for: WaitFor = "succeeded",
        idempotency_key: str | None = None,
    ) -> AsyncGroupHandle[R]:
        """Submit tasks that belong together, as `Client.group`."""
        key = idempotency_key or secrets.token_hex(16)
        batches = calls.batches(members)
        first, second = next(batches, ()), next(batches, None)
        answer = await self.send(
            calls.new_group(
                first if second is None else None,
                then=then,
                on_failure=on_failure,
                wait_for=wait_for,
                idempotency_key=key,
            )
        )
        group_id, size = str(answer["group_id"]), 0
        if second is not None:
            for batch in chain((first, second), batches):
                await self.send(calls.add_members(group_id, batch, offset=size))
                size += len(batch)
            await self.send(calls.close_group(group_id, size=size))
        join = None if then is None else self.task(str(answer["join_task_id"]), then.of)
        return AsyncGroupHandle(group_id, join, client=self)

    @overload
    def task(self, task_id: str, task_type: TaskType[Any, R]) -> AsyncTaskHandle[R]: ...
    @overload
    def task(self, task_id: str, task_type: None = None) -> AsyncTaskHandle[Any]: ...
    def task(self, task_id: str, task_type: TaskType[Any, Any] | None = None) -> AsyncTaskHandle[Any]:
        """Return the handle of a task that was submitted earlier, as `Client.task`."""
        return self._handle(task_id, task_type)

    async def wait(self, task_id: str, *, timeout_s: float | None = None) -> Document:
        """Wait until a task has succeeded, as `Client.wait`."""
        data: Document = {}
        try:
            async with asyncio.timeout(Wait(timeout_s).left_s), aclosing(self._events(task_id)) as events:
                async for event in events:
                    data = event.data
        except TimeoutError:
            pass  # what was seen last says how far it is
        return event_stream.succeeded(task_id, data, timeout_s=timeout_s)

    def events(self, task_id: str) -> AsyncIterator[Event]:
        """Yield what happens to a task until it has ended; opens the stream again where it breaks off."""
        return self._events(task_id)

    async def get(self, path: str, **query: str) -> Any:
        """Return the JSON answer to a GET."""
        return await self.send(calls.get(path, query))

    async def post(self, path: str, body: Any = None) -> Any:
        """Return the JSON answer to a POST; None if it is empty."""
        return await self.send(calls.post(path, body))

    async def pages(self, path: str, key: str, **query: str) -> AsyncIterator[Document]:
        """Yield the entries of a listing, page after page."""
        token = ""
        while True:
            page = await self.get(path, **query, **({"page_token": token} if token else {}))
            for entry in page[key]:
                yield entry
            token = page.get("next_page_token") or ""
            if not token:
                return

    @asynccontextmanager
    async def open_result(self, task_id: str) -> AsyncIterator[httpx2.Response]:
        """Open a task's result as a stream, for one that is large or a file."""
        async with self.stream(calls.result_path(task_id)) as answer:
            yield answer

    async def send(self, call: Call[_T]) -> _T:
        """Send a call and read its answer."""
        try:
            answer = await self._connected().request(
                call.method,
                self.url + call.path,
                params=dict(call.query) or None,
                **call.sent(),
                timeout=self._target.timeouts(call.timeout_s or self._target.timeout_s),
            )
        except httpx2.RequestError as error:
            raise self._no_answer(error) from error
        answers.check(answer, api_url=self.url)
        return call.read(answer)

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        silence_s: float = target.TIMEOUT_S,
    ) -> AsyncIterator[httpx2.Response]:
        """Open the answer to a GET as a stream, as `Client.stream`."""
        try:
            async with self._connected().stream(
                "GET",
                self.url + path,
                headers=dict(headers or {}),
                params=dict(query or {}) or None,
                timeout=self._target.timeouts(silence_s),
            ) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                answers.check(answer, api_url=self.url)
                yield answer
        except httpx2.RequestError as error:
            raise self._no_answer(error) from error

    async def put(self, url: str, *, method: str, content: Any, headers: Mapping[str, str]) -> httpx2.Response:
        """Send bytes to storage, which gets no token: the address is the permission."""
        async with httpx2.AsyncClient(**target.connection(url), timeout=target.TIMEOUT_S) as http:
            return await http.request(method, url, content=content, headers=dict(headers))

    async def _events(self, task_id: str) -> AsyncGenerator[Event, None]:
        following = Following()
        while not following.ended():
            try:
                async with self.stream(
                    calls.events_path(task_id), headers=following.headers(), silence_s=event_stream.SILENCE_S
                ) as stream:
                    async for data in stream.aiter_bytes():
                        for event in following.feed(data):
                            yield event
                        if following.ended():
                            break
            except ApiError as error:
                await self._sleep(following.lost(error))

    def _handle(self, task_id: str, task_type: str | TaskType[Any, Any] | None) -> AsyncTaskHandle[Any]:
        adapter = task_type.result_adapter if isinstance(task_type, TaskType) else _ANYTHING
        return AsyncTaskHandle(task_id, adapter, client=self)

    def _connected(self) -> httpx2.AsyncClient:
        """The connections. Raises `RuntimeError` in another event loop than that of the first call."""
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise RuntimeError(
                "this AsyncClient was used in another event loop, which its connections belong to: make one in each "
                "(`async with AsyncClient() as api:` inside asyncio.run)"
            )
        return self._http

    def _no_answer(self, error: Exception) -> ApiError:
        return answers.no_answer(error, api_url=self.url, here=self.here)
