"""The API's client for ordinary code."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
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
from poolhouse.client.files import Files
from poolhouse.client.handles import GroupHandle, TaskHandle
from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import P, R, TaskType
from poolhouse.pipeline.groups.group import WaitFor

_T = TypeVar("_T")
_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class Client:
    """Calls of one pipeline's API; safe to share between threads. Every method may raise `ApiError`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Callable[[], str] | None = None,
        audience: str | None = None,
        timeout_s: float = target.TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect at the first call.

        Args:
            url: where the API is; None: where POOLHOUSE_API_URL says.
            token: gives an identity token, a new one at each call. None: for an address of Cloud Run, or where an
                audience is given, google-auth fetches them with the credentials of the environment.
            audience: whom those tokens are for, where that is not the URL; None: what POOLHOUSE_API_AUDIENCE says.
            timeout_s: longest time of one call, in seconds.
            headers: sent with every call. An API key of POOLHOUSE_API_KEY is, too, over https and on this machine; an
                address of Cloud Run then needs no token.
            sleep: how to wait before a stream is opened again, in seconds.

        Raises:
            ConfigError: there is no address.
        """
        self._target = target.target(url, token=token, audience=audience, timeout_s=timeout_s, headers=headers)
        self._http, self._pid = httpx2.Client(**self._target.options()), os.getpid()
        self._sleep = sleep
        #: Where the API is.
        self.url = self._target.url
        #: Whether that is this machine.
        self.here = self._target.here
        #: Uploads and downloads.
        self.files = Files(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connected().close()

    @overload
    def submit(
        self,
        task_type: TaskType[P, R],
        payload: P,
        *,
        queue: str | None = ...,
        delay_s: float | None = ...,
        run_at: datetime | None = ...,
        webhook_url: str | None = ...,
        idempotency_key: str | None = ...,
    ) -> TaskHandle[R]: ...
    @overload
    def submit(self, task_type: TaskRef[R], *, idempotency_key: str | None = ...) -> TaskHandle[R]: ...
    @overload
    def submit(
        self,
        task_type: str,
        payload: BaseModel | Mapping[str, Any],
        *,
        queue: str | None = ...,
        delay_s: float | None = ...,
        run_at: datetime | None = ...,
        webhook_url: str | None = ...,
        idempotency_key: str | None = ...,
    ) -> TaskHandle[Any]: ...
    def submit(
        self,
        task_type: str | TaskType[Any, Any] | TaskRef[Any],
        payload: BaseModel | Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
        webhook_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> TaskHandle[Any]:
        """Submit a task; returns once the queue has it. Arguments as of `TaskType.submit`."""
        if isinstance(task_type, TaskRef):
            call = calls.submit_ref(task_type, idempotency_key=idempotency_key)
            return self._handle(self.send(call), task_type.of)
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
        return self._handle(self.send(call), task_type)

    def group(
        self,
        members: Iterable[TaskRef[Any]],
        *,
        then: TaskRef[R] | None = None,
        on_failure: TaskRef[Any] | None = None,
        wait_for: WaitFor = "succeeded",
        idempotency_key: str | None = None,
    ) -> GroupHandle[R]:
        """Submit tasks that belong together; returns once the queue has all of them, some hundred by each call.

        Args:
            members: up to 100,000 tasks, such as `render.ref(Page(number=1))`; not held in memory.
            then: the join: it runs once, when all members have succeeded (or have been given up: cancelled, discarded).
                Its handler reads their results with `ctx.group_results`.
            on_failure: runs once, at the first member that fails for good.
            wait_for: `ended` lets the join run once all members have ended, however.
            idempotency_key: the same key with the same tasks gives the same group: a call that failed half-way goes on.
        """
        key = idempotency_key or secrets.token_hex(16)
        batches = calls.batches(members)
        first, second = next(batches, ()), next(batches, None)
        answer = self.send(
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
                self.send(calls.add_members(group_id, batch, offset=size))
                size += len(batch)
            self.send(calls.close_group(group_id, size=size))
        join = None if then is None else self.task(str(answer["join_task_id"]), then.of)
        return GroupHandle(group_id, join, client=self)

    @overload
    def task(self, task_id: str, task_type: TaskType[Any, R]) -> TaskHandle[R]: ...
    @overload
    def task(self, task_id: str, task_type: None = None) -> TaskHandle[Any]: ...
    def task(self, task_id: str, task_type: TaskType[Any, Any] | None = None) -> TaskHandle[Any]:
        """Return the handle of a task that was submitted earlier; calls nothing.

        Args:
            task_id: its id.
            task_type: gives its result its type.
        """
        return self._handle(task_id, task_type)

    def wait(self, task_id: str, *, timeout_s: float | None = None) -> Document:
        """Wait until a task has succeeded; returns the data of its last event.

        Raises:
            ResultTimeout: it has not ended in `timeout_s` seconds.
            TaskFailed: it has ended otherwise.
        """
        data: Document = {}
        with closing(self._events(task_id, timeout_s=timeout_s)) as events:
            for event in events:
                data = event.data
        return event_stream.succeeded(task_id, data, timeout_s=timeout_s)

    def events(self, task_id: str) -> Iterator[Event]:
        """Yield what happens to a task until it has ended; opens the stream again where it breaks off."""
        return self._events(task_id, timeout_s=None)

    def get(self, path: str, **query: str) -> Any:
        """Return the JSON answer to a GET."""
        return self.send(calls.get(path, query))

    def post(self, path: str, body: Any = None) -> Any:
        """Return the JSON answer to a POST; None if it is empty."""
        return self.send(calls.post(path, body))

    def pages(self, path: str, key: str, **query: str) -> Iterator[Document]:
        """Yield the entries of a listing, page after page."""
        token = ""
        while True:
            page = self.get(path, **query, **({"page_token": token} if token else {}))
            yield from page[key]
            token = page.get("next_page_token") or ""
            if not token:
                return

    @contextmanager
    def open_result(self, task_id: str) -> Iterator[httpx2.Response]:
        """Open a task's result as a stream, for one that is large or a file."""
        with self.stream(calls.result_path(task_id)) as answer:
            yield answer

    def send(self, call: Call[_T]) -> _T:
        """Send a call and read its answer."""
        try:
            answer = self._connected().request(
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

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        silence_s: float = target.TIMEOUT_S,
    ) -> Iterator[httpx2.Response]:
        """Open the answer to a GET as a stream.

        Args:
            path: what to get.
            headers: of the call.
            query: of the call.
            silence_s: the longest time without a byte, in seconds.
        """
        try:
            with self._connected().stream(
                "GET",
                self.url + path,
                headers=dict(headers or {}),
                params=dict(query or {}) or None,
                timeout=self._target.timeouts(silence_s),
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                answers.check(answer, api_url=self.url)
                yield answer
        except httpx2.RequestError as error:
            raise self._no_answer(error) from error

    def put(self, url: str, *, method: str, content: Any, headers: Mapping[str, str]) -> httpx2.Response:
        """Send bytes to storage, which gets no token: the address is the permission."""
        with httpx2.Client(**target.connection(url), timeout=target.TIMEOUT_S) as http:
            return http.request(method, url, content=content, headers=dict(headers))

    def _events(self, task_id: str, *, timeout_s: float | None) -> Generator[Event, None, None]:
        wait = Wait(timeout_s)
        following = Following()
        while not following.ended() and not wait.over:
            silence_s = wait.silence_s()
            try:
                with self.stream(
                    calls.events_path(task_id), headers=following.headers(), silence_s=silence_s
                ) as stream:
                    for data in stream.iter_bytes():
                        yield from following.feed(data)
                        # A stream's longest silence is fixed when it is opened: another one, for what is left.
                        if following.ended() or wait.silence_s() < silence_s - event_stream.OVERSHOOT_S:
                            break
            except ApiError as error:
                if not wait.over:
                    self._sleep(following.lost(error))

    def _handle(self, task_id: str, task_type: str | TaskType[Any, Any] | None) -> TaskHandle[Any]:
        adapter = task_type.result_adapter if isinstance(task_type, TaskType) else _ANYTHING
        return TaskHandle(task_id, adapter, client=self)

    def _connected(self) -> httpx2.Client:
        """The connections of this process: on those of the one that it was forked from, answers would be mixed up."""
        if self._pid != os.getpid():
            closed = self._http.is_closed
            self._http, self._pid = httpx2.Client(**self._target.options()), os.getpid()
            if closed:
                self._http.close()
        return self._http

    def _no_answer(self, error: Exception) -> ApiError:
        return answers.no_answer(error, api_url=self.url, here=self.here)
