"""The proxy as a server in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from poolhouse.local.storage.proxy.exchange import Exchange
from poolhouse.local.storage.proxy.faults import Faults
from poolhouse.local.storage.proxy.http import Head, NotHttp, answer_body
from poolhouse.local.storage.proxy.limits import WriteLimits
from poolhouse.local.storage.proxy.relay import Relay
from poolhouse.local.storage.proxy.requests import StoredObject
from poolhouse.local.storage.proxy.strictness import Strictness

_START_TIMEOUT_S = 10.0


class FaultProxy:
    """A context manager: inside it, `url` leads to the storage server, through the faults that are set."""

    def __init__(
        self,
        upstream_url: str,
        *,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        on_exchange: Callable[[Exchange], None] = lambda exchange: None,
        write_limits: WriteLimits | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            upstream_url: the storage server, as in STORAGE_EMULATOR_HOST; plain HTTP.
            seed: of all choices.
            port: where to listen; 0 for a free port.
            on_exchange: called on the proxy's thread with every request that reached the server, once it is answered.
            write_limits: rates at which changes are taken; used on the proxy's thread.

        Raises:
            ValueError: the address is not one of plain HTTP.
        """
        parts = urlsplit(upstream_url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(f"{upstream_url!r} is not the address of a plain HTTP server, such as http://127.0.0.1:80")
        self.faults = Faults(random.Random(seed))
        self._upstream = (parts.hostname, parts.port or 80)
        self._host = host
        self._port = port
        self._on_exchange = on_exchange
        self._write_limits = write_limits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="storage-proxy", daemon=True)
        self._ready = threading.Event()
        self._failure: OSError | None = None

    @property
    def url(self) -> str:
        """Where it listens, for STORAGE_EMULATOR_HOST."""
        return f"http://{self._host}:{self._port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S):
            raise TimeoutError("the storage proxy did not start")
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with relaying(
            (self._host, self._port),
            server=self._upstream,
            faults=self.faults,
            on_exchange=self._on_exchange,
            write_limits=self._write_limits,
            public_host="{}:{}".format(*self._upstream),
        ) as port:
            self._port = port
            self._ready.set()
            await self._stop.wait()


@contextlib.asynccontextmanager
async def relaying(
    address: tuple[str, int],
    *,
    server: tuple[str, int],
    faults: Faults,
    on_exchange: Callable[[Exchange], None] = lambda exchange: None,
    write_limits: WriteLimits | None,
    public_host: str | None = None,
) -> AsyncIterator[int]:
    """Relay connections on this event loop; gives the port.

    Args:
        address: where to listen; port 0 for a free one.
        server: where the storage server listens.
        faults: what happens to requests.
        on_exchange: called with every request that reached the server, once it is answered.
        write_limits: rates at which changes are taken.
        public_host: HOST:PORT that signed URLs are to lead to; None: as clients send them.
    """
    strictness = Strictness(functools.partial(_look, server))
    relays: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        relays.add(task)
        relay = Relay(
            (reader, writer),
            server=server,
            faults=faults,
            on_exchange=on_exchange,
            strictness=strictness,
            write_limits=write_limits,
            public_host=public_host,
        )
        try:
            # The end of the proxy cancels it; to the client that is the end of a connection.
            with contextlib.suppress(asyncio.CancelledError):
                await relay.run()
        finally:
            relays.discard(task)

    listener = await asyncio.start_server(accept, *address, backlog=512)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in tuple(relays):
            task.cancel()
        await asyncio.gather(*relays)


async def _look(server: tuple[str, int], stored: StoredObject) -> Mapping[str, Any] | None:
    """Return the properties of an object; None where it is absent.

    Raises:
        NotHttp: the server does not say.
    """
    reader, writer = await asyncio.open_connection(*server)
    try:
        path = f"/storage/v1/b/{quote(stored.bucket, safe='')}/o/{quote(stored.name, safe='')}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {server[0]}:{server[1]}\r\nConnection: close\r\n\r\n".encode())
        answer = await Head.read(reader)
        if answer is None or answer.status not in {200, 404}:
            raise NotHttp(f"the server did not say what it has of {stored}")
        body = b"".join([piece async for piece in answer_body(reader, answer, method="GET")])
        found: Mapping[str, Any] | None = json.loads(body) if answer.status == 200 else None
        return found
    finally:
        writer.close()
