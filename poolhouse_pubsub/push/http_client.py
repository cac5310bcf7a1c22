"""A small HTTP/1.1 client for pushes: POST, keep-alive, nothing followed and no answer read further than its status.

Written on h11 since the usual clients pass over interim answers, and 102 acks a push.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.parse
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import h11

#: Idle connections that are kept for an origin.
_MAX_IDLE: Final = 64
#: Longest answer that is read so that its connection can be used again, in bytes.
_MAX_ANSWER_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 65_536


class PushError(Exception):
    """No answer: no connection, or what came is not HTTP."""


class HttpClient:
    """Connections to push endpoints."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str, int], list[_Connection]] = defaultdict(list)
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> int:
        """Send a request and return the status of its answer; 102 counts as one.

        Waits as long as it takes: the caller cancels.

        Args:
            url: An http or https URL.
            headers: Lower-case names; host and content-length are added.
            body: The body.

        Raises:
            PushError: There is no answer.
        """
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        origin = (parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80))
        target = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            encoded.append((b"host", parts.netloc.rpartition("@")[2].encode("idna")))
            encoded.append((b"content-length", b"%d" % len(body)))
            request = h11.Request(method=b"POST", target=target.encode(), headers=encoded)
        except (UnicodeError, h11.LocalProtocolError) as error:
            raise PushError(f"no request can be made for {url}: {error}") from None
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if not connection.usable:
                connection.close()
                continue
            try:
                return await self._exchange(connection, origin, request, body)
            except _StaleError:
                continue  # closed while it was idle; at the worst the endpoint sees the message twice, as it may
        return await self._exchange(await self._connect(origin), origin, request, body)

    async def _exchange(
        self, connection: _Connection, origin: tuple[str, str, int], request: h11.Request, body: bytes
    ) -> int:
        reusable = False
        try:
            status = await connection.exchange(request, body)
            reusable = status >= 200 and connection.usable
            return status
        except (OSError, h11.RemoteProtocolError) as error:
            if connection.used and connection.silent:
                raise _StaleError from None
            raise PushError(f"no answer from {request.target.decode()}: {error}") from None
        finally:
            idle = self._idle[origin]
            if reusable and len(idle) < _MAX_IDLE:
                connection.used = True
                idle.append(connection)
            else:
                connection.close()

    async def _connect(self, origin: tuple[str, str, int]) -> _Connection:
        scheme, host, port = origin
        if scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=self._tls if scheme == "https" else None)
        except (OSError, UnicodeError) as error:  # UnicodeError: a host name that IDNA can't encode
            raise PushError(f"no connection to {host}:{port}: {error}") from None
        return _Connection(reader, writer)

    def close(self) -> None:
        """Close idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()


class _StaleError(Exception):
    """An idle connection turned out to be closed."""


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)
        #: Whether it carried a request before.
        self.used = False
        #: Whether nothing has come for the present request.
        self.silent = True

    @property
    def usable(self) -> bool:
        """Whether it can take a further request."""
        return self._http.our_state is h11.IDLE and not self._writer.is_closing() and not self._reader.at_eof()

    async def exchange(self, request: h11.Request, body: bytes) -> int:
        """Send a request, and return the status of its answer once that has been read to its end."""
        http = self._http
        self.silent = True
        out = http.send(request) or b""
        if body:
            out += http.send(h11.Data(data=body)) or b""
        self._writer.write(out + (http.send(h11.EndOfMessage()) or b""))
        await self._writer.drain()
        status = 0
        size_bytes = 0
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(_READ_BYTES)
                self.silent = self.silent and not data
                http.receive_data(data)
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 102:
                    return 102
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                size_bytes += len(event.data)
                if size_bytes > _MAX_ANSWER_BYTES:
                    return status
            else:
                break
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
        return status

    def close(self) -> None:
        # A transport that is broken already says so here; there is nothing left to save.
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()
