"""A small HTTP/1.1 server on bytes: requests in, responses out, keep-alive and pipelining, nothing else."""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11

#: Longest body taken (Quotas and limits: an HTTP Publish has at most 10 MiB; larger ones are refused by its own rule).
MAX_BODY_BYTES = 32 * 1024 * 1024
#: Bytes of further requests that are taken while one is answered; then the client waits.
MAX_AHEAD_BYTES = 64 * 1024
#: Time that a request's head may take, and that a body may stand still, in seconds.
REQUEST_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request."""

    #: Upper case.
    method: str
    #: Percent-encoded, without the query.
    path: str
    #: Decoded parameters, the last value of each.
    query: Mapping[str, str] = field(default_factory=dict)
    #: Lower-case names.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: All of it.
    body: bytes = b""

    def json(self) -> Any:
        """Return the body as JSON; an empty one is an empty object.

        Raises:
            ValueError: It is not JSON.
        """
        try:
            return json.loads(self.body) if self.body.strip() else {}
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One response."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: Sequence[tuple[str, str]] = ()


#: An application answers a request, or None when it is not its own.
HttpApp = Callable[[HttpRequest], Awaitable[HttpResponse | None]]


def json_response(status: int, content: Any) -> HttpResponse:
    """Return a response with a JSON body."""
    return HttpResponse(status, json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")


class HttpConnection:
    """One HTTP/1.1 connection.

    Args:
        app: What answers.
        transport: Where responses are written.
    """

    def __init__(self, app: Callable[[HttpRequest], Awaitable[HttpResponse]], transport: asyncio.Transport) -> None:
        self._app = app
        self._transport = transport
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65_536)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._ahead_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        try:
            self._connection.receive_data(data)
        except RuntimeError:
            return  # bytes after we said that the connection closes
        if self._answering is None:
            self._next()
            return
        # Not before: only a connection that is being read notices that its client has gone.
        self._ahead_bytes += len(data)
        if self._ahead_bytes > MAX_AHEAD_BYTES:
            self._transport.pause_reading()

    def closed(self) -> None:
        """Handle a lost client: give up a call that waits (a Pull)."""
        self._keep_time(running=False)
        if self._answering is not None:
            self._answering.cancel()

    def _next(self) -> None:
        while True:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint, f"not a valid HTTP/1.1 request: {error}")
                return
            if event is h11.NEED_DATA:
                if self._connection.they_are_waiting_for_100_continue:
                    self._write(self._connection.send(h11.InformationalResponse(status_code=100, headers=[])))
                in_body = self._connection.their_state is h11.SEND_BODY
                if in_body:
                    self._keep_time(running=False)
                self._keep_time(running=in_body or bool(self._connection.trailing_data[0]))
                return
            if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                if isinstance(event, h11.ConnectionClosed):
                    self._transport.close()
                return
            if isinstance(event, h11.Request):
                self._request = event
                self._body.clear()
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > MAX_BODY_BYTES:
                    self._refuse(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
                    return
            elif isinstance(event, h11.EndOfMessage):
                self._keep_time(running=False)
                self._answering = asyncio.ensure_future(self._answer())
                return

    async def _answer(self) -> None:
        assert self._request is not None
        target = self._request.target.decode("latin-1")
        path, _, query = target.partition("?")
        method = self._request.method.decode().upper()
        request = HttpRequest(
            method=method,
            path=path,
            query=dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
            headers={name.decode(): value.decode("latin-1") for name, value in self._request.headers},
            body=bytes(self._body),
        )
        response = await self._app(request)
        self._answering = None
        if self._transport.is_closing():
            return
        if self._ahead_bytes > MAX_AHEAD_BYTES:
            self._transport.resume_reading()
        self._ahead_bytes = 0
        self._respond(response, head=method == "HEAD")
        if self._connection.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._connection.start_next_cycle()
            self._next()

    def _keep_time(self, *, running: bool) -> None:
        """Start the time that the rest of a request may take, unless it runs already; or end it."""
        if not running and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif running and self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(REQUEST_TIMEOUT_S, self._refuse, 408, "the request did not end in time")

    def _respond(self, response: HttpResponse, *, head: bool = False) -> None:
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            *response.headers,
        ]
        out = self._connection.send(h11.Response(status_code=response.status, headers=headers)) or b""
        if not head:
            out += self._connection.send(h11.Data(data=response.body)) or b""
        self._write(out + (self._connection.send(h11.EndOfMessage()) or b""))

    def _refuse(self, status: int, reason: str) -> None:
        if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._respond(
                HttpResponse(status, reason.encode(), "text/plain; charset=utf-8", (("connection", "close"),))
            )
        self._transport.close()

    def _write(self, data: bytes | None) -> None:
        if data:
            self._transport.write(data)
