"""The server on an event loop: one port for gRPC, REST and administration."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from poolhouse_pubsub import declared as topologies
from poolhouse_pubsub.control.faults import Faults
from poolhouse_pubsub.control.restart import Restart
from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.core.topic import Topic
from poolhouse_pubsub.http import HttpApp, HttpRequest, HttpResponse, json_response
from poolhouse_pubsub.oidc import Oidc
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.service.gate import Gate
from poolhouse_pubsub.service.subscription_config import EXPORTS
from poolhouse_pubsub.transport.admin import Admin
from poolhouse_pubsub.transport.grpc_server import GrpcServer
from poolhouse_pubsub.transport.multiplexer import Front
from poolhouse_pubsub.transport.rest import Rest
from poolhouse_pubsub.transport.web_guard import WebGuard

if TYPE_CHECKING:
    from poolhouse_pubsub.exports import Exporter
    from poolhouse_pubsub.ingestion import Ingester
    from poolhouse_pubsub.push import Pusher

_log = logging.getLogger(__name__)


#: How often what was written is flushed to the disk, in seconds.
FLUSH_EVERY_S = 1.0

#: A Unix socket's address has room for 104 bytes on macOS, 108 on Linux (`sockaddr_un`); the rest is for names in it.
_LONGEST_FOLDER_BYTES = 80


class AsyncServer:
    """The server on the running event loop; `EmulatorServer` runs one in a thread.

    Args:
        emulator: The state.
        host: Address to listen on.
        port: Port to listen on, 0 for a free one.
        listener: A socket that listens already, instead of both; the server closes it.
        export_dir: Folder that tables of export subscriptions are written to; None for nowhere.
        guard: Keeps web pages of other sites out.
    """

    def __init__(
        self,
        emulator: Emulator,
        *,
        host: str,
        port: int,
        listener: socket.socket | None = None,
        export_dir: Path | None = None,
        guard: WebGuard | None = None,
    ) -> None:
        self.emulator = emulator
        self._guard = guard or WebGuard()
        self.host = host
        self.port = port
        self._inherited = listener
        self.faults = Faults(emulator.random)
        self.faults.on_change = self._faults_changed
        self.service = Service(emulator, self.faults)
        self._grpc = GrpcServer(self.service)
        self.restart = Restart(emulator, self._grpc.end_streams)
        self._oidc = Oidc()
        self._export_dir = export_dir
        self._pusher: Pusher | None = None
        self._exporter: Exporter | None = None
        self._ingester: Ingester | None = None
        self._apps: list[HttpApp] = [self._oidc, Admin(emulator, self.faults, self.restart), Rest(self.service)]
        self._fronts: set[Front] = set()
        self._listener: asyncio.Server | None = None
        self._folder: Path | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._later: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add_ui(self, project: str) -> None:
        """Serve the console under `/ui`.

        Args:
            project: Project of what is named by an id alone.
        """
        ui: HttpApp | None = None

        async def answer(request: HttpRequest) -> HttpResponse | None:
            nonlocal ui
            if ui is None and request.path.startswith("/ui"):
                from poolhouse_pubsub.ui import serve_ui  # noqa: PLC0415 - only once somebody looks

                ui = serve_ui(self.service, self.restart, project=project)
            return await ui(request) if ui is not None else None

        self._apps.append(answer)

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards.

        Raises:
            OSError: The address can't be had.
        """
        loop = self._loop = asyncio.get_running_loop()
        emulator = self.emulator
        emulator.on_woken = self._pump_soon
        emulator.timers.on_earlier = self._arm
        # The outer port first: a port that is taken is found out before anything else is started.
        if self._inherited is not None:
            self._listener = await loop.create_server(self._front, sock=self._inherited, start_serving=False)
        else:
            self._listener = await loop.create_server(
                self._front, self.host, self.port, start_serving=False, backlog=512
            )
        self.port = self._listener.sockets[0].getsockname()[1]
        self._folder = _socket_folder()
        self._socket = str(self._folder / "grpc")
        await self._grpc.start(f"unix:{quote(self._socket)}")  # gRPC, Name Resolution: the address is a URI
        emulator.on_saved = self._saved
        emulator.on_topic = self._topic_changed
        for subscription in emulator.subscriptions.values():
            self._saved(subscription)
        for topic in emulator.topics.values():
            self._topic_changed(topic)
        await self._listener.start_serving()
        self._arm(emulator.timers.next_due)

    def _pump_soon(self) -> None:
        # Soon, not now: what comes in during one turn of the loop is delivered together.
        assert self._loop is not None
        self._loop.call_soon(self.emulator.pump)

    def _saved(self, subscription: Subscription) -> None:
        config = subscription.config
        if self._pusher is None and config.push_config.push_endpoint:
            from poolhouse_pubsub.push import Pusher  # noqa: PLC0415 - only where there is something to push

            self._pusher = Pusher(self.emulator, self._oidc)
        if self._pusher is not None:
            self._pusher.follow(subscription)
        if self._exporter is None and any(config.HasField(field) for field in EXPORTS):
            from poolhouse_pubsub.exports import Exporter  # noqa: PLC0415 - only where there is something to export

            self._exporter = Exporter(self.emulator, schema_of=self.service.schemas.definition, folder=self._export_dir)
        if self._exporter is not None:
            self._exporter.follow(subscription)

    def _topic_changed(self, topic: Topic) -> None:
        if self._ingester is None:
            if not topic.config.HasField("ingestion_data_source_settings"):
                return
            from poolhouse_pubsub.ingestion import Ingester  # noqa: PLC0415 - only where there is something to import

            self._ingester = Ingester(self.service)
        self._ingester.follow(topic)

    @property
    def ingestion_failures(self) -> list[Any]:
        """IngestionFailureEvents of topics whose platform logs are on, oldest first."""
        return list(self._ingester.failures) if self._ingester is not None else []

    def _front(self) -> Front:
        assert self._loop is not None
        loop = self._loop
        return Front(
            app=self._http,
            connect=lambda factory: loop.create_unix_connection(factory, self._socket),
            members=self._fronts,
        )

    async def _http(self, request: HttpRequest) -> HttpResponse:
        refused = self._guard.refusal(request.method, request.headers)
        if refused is not None:
            error = {"code": refused.status, "message": refused.reason, "status": "PERMISSION_DENIED"}
            return json_response(refused.status, {"error": error})
        try:
            for app in self._apps:
                response = await app(request)
                if response is not None:
                    return response
        except Exception:  # noqa: BLE001 - a bug in one call must not leave its connection without an answer
            _log.exception("%s %s failed", request.method, request.path)
            message = f"The emulator failed in {request.method} {request.path[:300]}: see its log."
            return json_response(500, {"error": {"code": 500, "message": message, "status": "INTERNAL"}})
        message = f"No such call: {request.method} {request.path[:300]}"
        return json_response(404, {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}})

    def add_app(self, app: HttpApp) -> None:
        """Add an application on HTTP/1.1, asked after those that are there."""
        self._apps.append(app)

    async def stop(self) -> None:
        """End everything: streams with UNAVAILABLE, then all connections."""
        if self._listener is not None:
            self._listener.close()
        for handle in (self._alarm, self._later):
            if handle is not None:
                handle.cancel()
        self.emulator.timers.on_earlier = None
        self.emulator.on_woken = None
        self.emulator.on_saved = None
        self.emulator.on_topic = None
        if self._pusher is not None:
            self._pusher.stop()
        if self._exporter is not None:
            self._exporter.stop()
        if self._ingester is not None:
            self._ingester.stop()
        await self._grpc.stop()
        for front in list(self._fronts):
            if front.transport is not None:
                front.transport.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.emulator.commit()

    def later(self, seconds: float, blocking: Callable[[], None]) -> None:
        """Run a blocking function on a thread, some time from now; not any more once the server stops."""
        loop = asyncio.get_running_loop()

        def begin() -> None:
            self._later = None
            loop.run_in_executor(None, blocking)

        self._later = loop.call_later(seconds, begin)

    def _arm(self, due: float) -> None:
        """Set the loop's alarm for the next due timer; a manual clock needs none."""
        if due >= self._alarm_at or self._loop is None or self.emulator.clock.manual:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = due
        # A loop takes delays of up to a day or so; a later alarm just looks again then.
        delay_s = min(max(0.0, due - self.emulator.clock.now()), 43_200.0)
        self._alarm = self._loop.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._alarm_at = math.inf
        try:
            self.emulator.run_due()
        finally:
            self._arm(self.emulator.timers.next_due)

    def advance(self, seconds: float) -> None:
        """Move time forward, on the loop's thread."""
        self.emulator.advance(seconds)
        self._alarm_at = math.inf
        self._arm(self.emulator.timers.next_due)

    def _faults_changed(self) -> None:
        self.emulator.fault_injector = self.faults if self.faults.active else None


def _socket_folder() -> Path:
    """Return a private folder whose path is short enough for the address of a Unix socket."""
    usual = Path(tempfile.gettempdir())
    fits = len(os.fsencode(usual)) <= _LONGEST_FOLDER_BYTES
    return Path(tempfile.mkdtemp(prefix="pubsub-", dir=usual if fits else "/tmp"))  # noqa: S108 - mkdtemp is private


@asynccontextmanager
async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    listener: socket.socket | None = None,
    topology: Any = None,
    project: str = "local-project",
    data_dir: Path | None = None,
    clock: Clock | None = None,
    seed: int | None = None,
    export_dir: Path | None = None,
    enforce_iam: Mapping[str, Iterable[str]] | None = None,
    quotas: Mapping[str, float] | None = None,
    guard: WebGuard | None = None,
    ui: bool = False,
) -> AsyncIterator[AsyncServer]:
    """Yield a running server; the arguments are those of `EmulatorServer`.

    Raises:
        OSError: The address or the data folder can't be had.
        TopologyError: The topology can't be read or made.
    """
    if export_dir is None and data_dir is not None:
        export_dir = data_dir / "exports"
    emulator = Emulator(clock=clock, seed=seed)
    server = AsyncServer(emulator, host=host, port=port, listener=listener, export_dir=export_dir, guard=guard)
    if enforce_iam is not None or quotas:
        service = server.service
        service.gate = Gate(service.emulator, service.iam, enforce_iam=enforce_iam, quotas=quotas or {})
    if ui:
        server.add_ui(project)
    async with AsyncExitStack() as stack:
        if data_dir is not None:
            from poolhouse_pubsub.persistence.storage import Storage  # noqa: PLC0415 - not needed, and not to be had on every system

            storage = Storage(data_dir)
            stack.callback(storage.close)
            storage.restore(server.service)
            storage.on_unsynced = lambda: server.later(FLUSH_EVERY_S, storage.sync)
        stack.push_async_callback(server.stop)
        if topology is not None:
            if isinstance(topology, str | os.PathLike):
                topology = topologies.load(Path(topology), project=project)
            elif not isinstance(topology, topologies.Topology):
                topology = topologies.parse(topology, project=project)
            topologies.realise(topology, server.service)
        await server.start()
        yield server


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for the server: uvloop's where it is installed, since splicing is cheaper on it."""
    try:
        import uvloop  # noqa: PLC0415 - optional: not there on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
