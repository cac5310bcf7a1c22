"""One client's connection: each request meets its fate, then goes to the server, and its answer comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import struct
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from poolhouse.local.storage.proxy import limits
from poolhouse.local.storage.proxy.exchange import SHOWN_BYTES, Exchange
from poolhouse.local.storage.proxy.faults import Fault, Faults
from poolhouse.local.storage.proxy.http import Head, NotHttp, answer_body, endless, request_body
from poolhouse.local.storage.proxy.limits import WriteLimits
from poolhouse.local.storage.proxy.mutations import mutation_of
from poolhouse.local.storage.proxy.requests import PROPERTIES_WITHIN_BYTES, Request, properties_in
from poolhouse.local.storage.proxy.strictness import Refusal, Strictness

#: SO_LINGER with a time of 0: closing sends a reset.
_RESET = struct.pack("ii", 1, 0)


class Reset(Exception):
    """The client's connection is to be reset."""


class Relay:
    """Serves one connection of a client over one connection to the server."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        server: tuple[str, int],
        faults: Faults,
        on_exchange: Callable[[Exchange], None],
        strictness: Strictness,
        write_limits: WriteLimits | None,
        public_host: str | None,
    ) -> None:
        """Wrap a connection.

        Args:
            client: the connection.
            server: host and port of the storage server.
            faults: what happens to requests.
            on_exchange: called with each request that reached the server.
            strictness: refuses what Cloud Storage would refuse.
            write_limits: the rates that are enforced; None for none.
            public_host: HOST:PORT by which the server knows requests whose path is BUCKET/OBJECT, such as those of
                signed URLs; None: clients name it themselves.
        """
        self._reader, self._writer = client
        self._server = server
        self._faults = faults
        self._on_exchange = on_exchange
        self._strictness = strictness
        self._write_limits = write_limits
        self._public_host = public_host
        self._upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        """Serve until either side ends it."""
        try:
            while (head := await Head.read(self._reader)) is not None:
                if not await self._serve(head):
                    break
        except (Reset, NotHttp, OSError):
            # What a client sees of a connection that breaks, here or behind us, is a reset.
            client: socket.socket = self._writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._writer.transport.abort()
        finally:
            self._writer.close()
            self._disconnect()

    async def _serve(self, head: Head) -> bool:
        """Bring one request to its end; returns whether the connection may carry another."""
        fate = self._faults.fate(head.method, head.target)
        if (head.get("expect") or "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = head.replaced("expect", None)
        if fate.delay_s:
            await asyncio.sleep(fate.delay_s)
        fault = fate.fault
        if fault is not None and fault.kind == "reset":
            raise Reset
        body = request_body(self._reader, head)
        if fault is not None and fault.kind == "status":
            return await self._refuse(head, body, _refusal(fault))
        request, body = await _read_request(head, body)
        if self._public_host is not None and request.by_path:
            head = head.replaced("host", self._public_host)
        async with self._strictness.judged(request) as refused:
            if refused is not None:
                return await self._refuse(head, body, _answer(_status_line(refused), refused.body()))
            mutation = None if self._write_limits is None else mutation_of(request)
            if self._write_limits is None or mutation is None:
                return await self._pass_on(head, request, body, fault, not_written=_nothing)
            not_written = self._write_limits.admit(mutation)
            if not_written is None:
                return await self._refuse(head, body, _answer("429 Too Many Requests", limits.refusal(mutation)))
            return await self._pass_on(head, request, body, fault, not_written=not_written)

    async def _refuse(self, head: Head, body: AsyncIterator[bytes], answer: bytes) -> bool:
        """Answer a request in the server's stead."""
        async for _ in body:
            pass
        self._writer.write(answer)
        await self._writer.drain()
        return not head.closes

    async def _pass_on(
        self,
        head: Head,
        request: Request,
        body: AsyncIterator[bytes],
        fault: Fault | None,
        *,
        not_written: Callable[[], None],
    ) -> bool:
        """Send a request on, and its answer back.

        Args:
            head: of the request.
            request: what it is about.
            body: of the request.
            fault: what happens to the answer.
            not_written: called where the server refuses the request.
        """
        reader, writer = await self._connected()
        writer.write(head.encode())
        sent = bytearray()
        shown = not head.chunked and (head.length or 0) <= SHOWN_BYTES
        async for piece in body:
            writer.write(piece)
            if shown:
                sent += piece
            await writer.drain()
        answer = await Head.read(reader)
        while answer is not None and answer.status < 200:
            answer = await Head.read(reader)
        if answer is None:
            raise NotHttp("the server ended the connection instead of answering")
        if answer.status >= 300:
            not_written()
        elif request.opens_session:
            self._strictness.opened(request, answer.get("location") or "")
        received, delivered = await self._answer(answer, reader, method=head.method, fault=fault)
        self._on_exchange(
            Exchange(
                method=head.method,
                target=head.target,
                sent=bytes(sent) if shown else None,
                status=answer.status,
                answer=received,
                delivered=delivered,
            )
        )
        if not delivered:
            raise Reset
        if answer.closes or endless(answer, method=head.method):
            self._disconnect()
            return False
        return not head.closes

    async def _answer(
        self, answer: Head, reader: asyncio.StreamReader, *, method: str, fault: Fault | None
    ) -> tuple[bytes | None, bool]:
        """Send the client as much of the answer as the fault lets through.

        Returns the answer's body, where it is to be shown, and whether the client was sent all of it. A client that is
        gone does not change what the server has done: the answer is read to its end all the same.
        """
        budget = math.inf
        if fault is not None:
            budget = 0 if fault.kind == "lose_answer" else (answer.length or 0) // 2
        gone = fault is not None and fault.kind == "lose_answer"
        shown = not answer.chunked and answer.length is not None and answer.length <= SHOWN_BYTES
        received = bytearray()
        if not gone:
            gone = not await self._send(self._own_address(answer).encode())
        async for piece in answer_body(reader, answer, method=method):
            if shown:
                received += piece
            if not gone and budget > 0:
                part = piece[: int(min(budget, len(piece)))]
                budget -= len(part)
                gone = not await self._send(part)
        return bytes(received) if shown else None, fault is None and not gone

    async def _send(self, data: bytes) -> bool:
        """Send to the client; False if it is gone."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return True

    def _own_address(self, answer: Head) -> Head:
        """Upload sessions are handed out under the server's address: theirs must come this way too."""
        location = answer.get("location")
        if location is None:
            return answer
        host, port = self._writer.get_extra_info("sockname")[:2]
        return answer.replaced("location", location.replace(f"{self._server[0]}:{self._server[1]}", f"{host}:{port}"))

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._upstream is None or self._upstream[0].at_eof():
            self._disconnect()
            self._upstream = await asyncio.open_connection(*self._server)
        return self._upstream

    def _disconnect(self) -> None:
        if self._upstream is not None:
            self._upstream[1].close()
            self._upstream = None


async def _read_request(head: Head, body: AsyncIterator[bytes]) -> tuple[Request, AsyncIterator[bytes]]:
    """What a request is about, and its body, which may have to be read for that."""
    request = Request.of(head, {})
    if not request.names_in_body:
        return request, body
    read = b""
    properties = None
    async for piece in body:
        read += piece
        properties = properties_in(read)
        if properties is not None or len(read) > PROPERTIES_WITHIN_BYTES:
            break

    async def whole() -> AsyncIterator[bytes]:
        yield read
        async for piece in body:
            yield piece

    return Request.of(head, properties or {}), whole()


def _nothing() -> None:
    pass


def _refusal(fault: Fault) -> bytes:
    """An error as Cloud Storage writes it (JSON API, Errors)."""
    error = {"code": fault.status, "message": f"Injected fault: {fault.status}."}
    return _answer(f"{fault.status} Injected Fault", json.dumps({"error": error}).encode())


def _status_line(refused: Refusal) -> str:
    return f"{refused.status} {HTTPStatus(refused.status).phrase}"


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body
