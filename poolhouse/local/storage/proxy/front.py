"""What stands in front of a server at its public port: each request is looked at, answers go back untouched.

fake-gcs-server lets pages of every site read and write (`Access-Control-Allow-Origin: *`), and has no switch for it. So
it listens where no page finds it, and pages meet the rule of `poolhouse.pipeline.web_guard` here. The address of an
upload session (Cloud Storage, Resumable uploads, "Session URIs") is a key in itself: pages that were given one may send
bytes. HTTP/2 goes through unread: it is what gRPC clients speak, and no browser speaks it without TLS.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import cast

from poolhouse.local.storage.proxy.http import NotHttp
from poolhouse.local.storage.proxy.request_stream import RequestHead, RequestStream
from poolhouse.pipeline.web_guard import Refusal, WebGuard

#: What every HTTP/2 connection begins with (RFC 9113, 3.4).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Bytes that may wait for a slow side before the fast one is paused.
_HIGH_WATER_BYTES = 1 << 20
_SESSION = re.compile(r"/(resumable/)?upload/storage/v1/b/[^/?]+/o\?(.+&)?upload_id=[\w%-]{16,}(&|$)", re.ASCII)
_OPENS_SESSION = re.compile(r"/(resumable/)?upload/storage/v1/b/[^/?]+/o\?(.+&)?uploadType=resumable(&|$)")

Connect = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.Protocol]]]


def refusal(head: RequestHead, guard: WebGuard) -> Refusal | None:
    """Return why a request does not reach the server; None where it does."""
    method = head.method.upper()
    origin = head.headers.get("origin")
    return guard.refusal(
        method,
        head.headers,
        # The address of an upload session is the permission to write to it.
        origins=(origin.lower(),) if origin and method in {"PUT", "OPTIONS"} and _SESSION.match(head.target) else (),
        forwards_origin=method == "POST" and _OPENS_SESSION.match(head.target) is not None,
    )


class Front(asyncio.Protocol):
    """One connection from outside.

    Args:
        guard: says which requests go on.
        connect: opens a connection to the server.
        members: where open connections are kept, to be closed with the front.
    """

    def __init__(self, *, guard: WebGuard, connect: Connect, members: set[Front]) -> None:
        self._guard = guard
        self._connect = connect
        self._members = members
        self._requests = RequestStream()
        self._waiting: list[bytes] = []
        self._back: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._refused = False
        #: The first bytes, until they show which HTTP it is; None from then on.
        self._first: bytes | None = b""
        self._is_http2 = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._members.add(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refused:
            return
        if self._first is not None:
            data = self._first + data
            self._is_http2 = data.startswith(_PREFACE)
            self._first = data if not self._is_http2 and _PREFACE.startswith(data) else None
            if self._first is not None:
                return
        if self._is_http2:
            self._send(data)
            return
        try:
            for part in self._requests.feed(data):
                if isinstance(part, RequestHead):
                    refused = refusal(part, self._guard)
                    if refused is not None:
                        self._refuse(refused.status, refused.reason)
                        return
                    self._send(part.raw)
                else:
                    self._send(part)
        except NotHttp as error:
            self._refuse(400, str(error))

    def _send(self, data: bytes) -> None:
        if self._back is not None:
            self._back.write(data)
            return
        self._waiting.append(data)
        if self._opening is None:
            assert self.transport is not None
            self.transport.pause_reading()
            self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        assert self.transport is not None
        try:
            back, _ = await self._connect(lambda: _Back(self))
        except OSError:
            self._refuse(503, "the server behind this port does not answer")
            return
        self._back = cast(asyncio.Transport, back)
        self._back.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        if self.transport.is_closing():
            self._back.close()
            return
        self._back.writelines(self._waiting)
        self._waiting.clear()
        self.transport.resume_reading()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer in the form of Cloud Storage (JSON API, Errors) and take nothing more from this connection."""
        assert self.transport is not None
        self._refused = True
        body = json.dumps({"error": {"code": status, "message": reason}}).encode()
        head = (
            f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._members.discard(self)
        if self._back is not None:
            self._back.close()

    def pause_writing(self) -> None:
        """The client is slow: the server has to wait."""
        if self._back is not None:
            self._back.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._back is not None:
            self._back.resume_reading()


class _Back(asyncio.Protocol):
    """The inner side of a connection."""

    def __init__(self, front: Front) -> None:
        assert front.transport is not None
        self._out = front.transport

    def data_received(self, data: bytes) -> None:
        self._out.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._out.close()

    def pause_writing(self) -> None:
        self._out.pause_reading()

    def resume_writing(self) -> None:
        self._out.resume_reading()


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop for fronts: uvloop's where it is installed, since passing bytes on is cheaper on it."""
    try:
        import uvloop  # noqa: PLC0415 - optional: not there on every system
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
