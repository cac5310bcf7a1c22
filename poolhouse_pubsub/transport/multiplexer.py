"""The one port: a connection's first bytes distinguish HTTP/2 (gRPC) from HTTP/1.1 (REST and administration).

HTTP/2 connections are spliced to the gRPC server's own socket, byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from poolhouse_pubsub.http import REQUEST_TIMEOUT_S, HttpConnection, HttpRequest, HttpResponse

#: What every HTTP/2 connection starts with (RFC 9113, 3.4).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: Bytes that may wait for a slow side before the fast one is paused.
_HIGH_WATER = 1 << 20


class Front(asyncio.Protocol):
    """One connection from outside.

    Args:
        app: Answers HTTP/1.1 requests.
        connect: Opens a connection to the gRPC server.
        members: Where open connections are kept, to be closed with the server.
    """

    def __init__(
        self,
        *,
        app: Callable[[HttpRequest], Awaitable[HttpResponse]],
        connect: Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.Protocol]]],
        members: set[Front],
    ) -> None:
        self._app = app
        self._connect = connect
        self._members = members
        self._first = bytearray()
        self._http: HttpConnection | None = None
        self._back: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self._members.add(self)
        self._silence = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._back is not None:
            self._back.write(data)
        elif self._http is not None:
            self._http.data_received(data)
        else:
            self._first += data
            self._decide()

    def _decide(self) -> None:
        assert self.transport is not None
        first = bytes(self._first)
        if len(first) >= len(_PREFACE) or not _PREFACE.startswith(first):
            self._silence.cancel()
        if first.startswith(_PREFACE):
            if self._opening is None:
                self.transport.pause_reading()
                self._opening = asyncio.ensure_future(self._open())
        elif not _PREFACE.startswith(first):
            self._http = HttpConnection(self._app, self.transport)
            self._first.clear()
            self._http.data_received(first)

    async def _open(self) -> None:
        assert self.transport is not None
        try:
            back, _ = await self._connect(lambda: _Back(self))
        except OSError:
            self.transport.close()  # the gRPC server is gone: we are stopping
            return
        self._back = cast(asyncio.Transport, back)
        self._back.set_write_buffer_limits(high=_HIGH_WATER)
        if self.transport.is_closing():
            self._back.close()
            return
        self._back.write(bytes(self._first))
        self._first.clear()
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._members.discard(self)
        self._silence.cancel()
        if self._back is not None:
            self._back.close()
        if self._http is not None:
            self._http.closed()

    def pause_writing(self) -> None:
        """Pause the gRPC server: the client reads slowly."""
        if self._back is not None:
            self._back.pause_reading()

    def resume_writing(self) -> None:
        """Resume the gRPC server: the client has caught up."""
        if self._back is not None:
            self._back.resume_reading()


class _Back(asyncio.Protocol):
    """The inner side of a spliced connection."""

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
