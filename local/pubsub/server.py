"""The emulator as a server: one port for gRPC, REST and administration, in a thread of its own."""

import asyncio
import logging
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from local.pubsub.admin import Admin
from local.pubsub.clock import Clock
from local.pubsub.emulator import Emulator
from local.pubsub.faults import Fault, Faults
from local.pubsub.front import Front
from local.pubsub.grpc_server import GrpcServer
from local.pubsub.http import HttpApp, HttpRequest, HttpResponse, json_response
from local.pubsub.inspection import SubscriptionView, inspect
from local.pubsub.restart import Restart
from local.pubsub.service import Service
from local.pubsub.streaming import server_stops

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: How long `stop` waits for the thread, in seconds.
_STOP_WAIT_S = 5.0


class AsyncServer:
    """The server on the running event loop; `EmulatorServer` runs one in a thread.

    Args:
        emulator: The state.
        host: Address to listen on.
        port: Port to listen on, 0 for a free one.
    """

    def __init__(self, emulator: Emulator, *, host: str, port: int) -> None:
        self.emulator = emulator
        self.host = host
        self.port = port
        self.faults = Faults(emulator.random)
        self.faults.on_change = self._faults_changed
        self.service = Service(emulator, self.faults)
        self._grpc = GrpcServer(self.service)
        self.restart = Restart(emulator, self._grpc.end_streams)
        self._apps: list[HttpApp] = [Admin(emulator, self.faults, self.restart)]
        self._fronts: set[Front] = set()
        self._listener: asyncio.Server | None = None
        self._folder: Path | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Listens; `port` is the real one afterwards.

        Raises:
            OSError: The address can't be had.
        """
        loop = self._loop = asyncio.get_running_loop()
        emulator = self.emulator
        emulator.on_woken = self._pump_soon
        emulator.agenda.on_earlier = self._arm
        # The outer port first: a port that is taken is found out before anything else is started.
        self._listener = await loop.create_server(self._front, self.host, self.port, start_serving=False, backlog=512)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="pubsub-"))
        socket = self._folder / "grpc"
        await self._grpc.start(f"unix:{socket}")
        self._socket = str(socket)
        await self._listener.start_serving()
        self._arm(emulator.agenda.next_due)

    def _pump_soon(self) -> None:
        # Soon, not now: what comes in during one turn of the loop is delivered together.
        assert self._loop is not None
        self._loop.call_soon(self.emulator.pump)

    def _front(self) -> Front:
        assert self._loop is not None
        loop = self._loop
        return Front(
            app=self._http,
            connect=lambda factory: loop.create_unix_connection(factory, self._socket),
            members=self._fronts,
        )

    async def _http(self, request: HttpRequest) -> HttpResponse:
        for app in self._apps:
            response = await app(request)
            if response is not None:
                return response
        message = f"No such call: {request.method} {request.path[:300]}"
        return json_response(404, {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}})

    def add_app(self, app: HttpApp) -> None:
        """Adds an application on HTTP/1.1, asked after those that are there."""
        self._apps.append(app)

    async def stop(self) -> None:
        """Ends everything: streams with UNAVAILABLE, then all connections."""
        if self._listener is not None:
            self._listener.close()
        if self._alarm is not None:
            self._alarm.cancel()
        self.emulator.agenda.on_earlier = None
        self.emulator.on_woken = None
        await self._grpc.stop()
        for front in list(self._fronts):
            if front.transport is not None:
                front.transport.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.emulator.commit()

    # --- time

    def _arm(self, due: float) -> None:
        """Sets the loop's alarm for the agenda's next due time; a manual clock needs none."""
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
        self.emulator.run_due()
        self._arm(self.emulator.agenda.next_due)

    def advance(self, seconds: float) -> None:
        """Moves time forward, on the loop's thread."""
        self.emulator.advance(seconds)
        self._alarm_at = math.inf
        self._arm(self.emulator.agenda.next_due)

    def _faults_changed(self) -> None:
        self.emulator.tamper = self.faults if self.faults.active else None


class ClockControl:
    """The emulator's time, for other threads.

    Args:
        server: The server whose time it is.
    """

    def __init__(self, server: "EmulatorServer") -> None:
        self._server = server

    def now(self) -> float:
        """The present moment, seconds since the epoch."""
        return self._server.emulator.clock.now()

    def advance(self, seconds: float) -> None:
        """Moves time forward: leases, backoffs, retention and expiries that are due by then happen now, in order.

        Raises:
            ValueError: `seconds` is negative.
        """
        self._server.call(lambda: self._server.core.advance(seconds))

    def call_at(self, moment: float, callback: Callable[[float], None]) -> None:
        """Calls back, on the server's thread, when the time is `moment` (seconds since the epoch).

        It is called in order with everything else that is due, so a schedule can follow the emulator's time. The
        callback must not wait for the server.
        """
        self._server.call(lambda: self._server.emulator.agenda.timer(callback).set(moment))


class FaultControl:
    """The emulator's faults, for other threads.

    Args:
        server: The server whose faults they are.
    """

    def __init__(self, server: "EmulatorServer") -> None:
        self._server = server

    def add(self, kind: Any, **options: Any) -> Fault:
        """Sets a fault; the arguments are those of `local.pubsub.faults.Fault`."""
        fault = Fault(kind=kind, **options)
        return self._server.call(lambda: self._server.core.faults.add(fault))

    def remove(self, fault: Fault) -> None:
        """Takes one fault away."""
        self._server.call(lambda: self._server.core.faults.remove(fault))

    def clear(self) -> None:
        """Takes all faults away."""
        self._server.call(self._server.core.faults.clear)

    def restart(self) -> None:
        """Lets clients see a restart: streams end with UNAVAILABLE, leases are lost, nothing else is."""
        self._server.call(lambda: self._server.core.restart.now(server_stops()))


class EmulatorServer:
    """A Pub/Sub emulator in this process; usable several times in one process.

        with EmulatorServer() as server:
            os.environ["PUBSUB_EMULATOR_HOST"] = server.address

    Args:
        host: Address to listen on.
        port: Port to listen on, 0 for a free one.
        topology: Topics and subscriptions that are there before the port answers: a file (`topology.load`) or the
            parsed form.
        data_dir: Folder that keeps the state over restarts; None to keep nothing.
        clock: The time; real time when None.
        seed: Of everything random, for runs that can be repeated.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        topology: Any = None,
        data_dir: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self.host = host
        self._port = port
        self._topology = topology
        self._data_dir = Path(data_dir) if data_dir is not None else None
        self._clock = clock
        self._seed = seed
        self._core: AsyncServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self.clock = ClockControl(self)
        self.faults = FaultControl(self)

    # --- starting and stopping

    def start(self) -> Self:
        """Starts it; it answers when this returns.

        Raises:
            OSError: The port is taken.
            RuntimeError: It runs already.
        """
        if self._thread is not None:
            raise RuntimeError("this EmulatorServer runs already: stop it first, or make another one")
        started: list[BaseException | None] = []
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started, ready), name="pubsub-emulator", daemon=True)
        self._thread.start()
        ready.wait()
        if started and started[0] is not None:
            self._thread.join()
            self._thread = None
            raise started[0]
        return self

    def stop(self) -> None:
        """Stops it; open streams end with UNAVAILABLE. Does nothing when it does not run."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        loop.call_soon_threadsafe(stopping.set)
        thread.join(_STOP_WAIT_S)
        if thread.is_alive():
            _log.warning("the Pub/Sub emulator on %s did not stop within %s s", self.address, _STOP_WAIT_S)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, started: list[BaseException | None], ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(self._main(started, ready))

    async def _main(self, started: list[BaseException | None], ready: threading.Event) -> None:
        core = None
        try:
            emulator = Emulator(clock=self._clock, seed=self._seed)
            core = AsyncServer(emulator, host=self.host, port=self._port)
            await core.start()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that called start()
            started.append(error)
            ready.set()
            return
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._port = core.port
        ready.set()
        await self._stopping.wait()
        await core.stop()

    # --- using it

    @property
    def core(self) -> AsyncServer:
        """The server itself, for code on its own thread.

        Raises:
            RuntimeError: It was never started.
        """
        if self._core is None:
            raise RuntimeError("this EmulatorServer was not started")
        return self._core

    @property
    def emulator(self) -> Emulator:
        """The state. Other threads read it through `call`."""
        return self.core.emulator

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def address(self) -> str:
        """HOST:PORT, the value for PUBSUB_EMULATOR_HOST."""
        return f"{self.host}:{self._port}"

    def call(self, function: Callable[[], _T]) -> _T:
        """Runs a function on the server's thread and returns what it returns."""
        if self._thread is None or self._loop is None or threading.current_thread() is self._thread:
            return function()

        async def run() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def inspect(self, subscription: str, *, messages: int | None = None) -> SubscriptionView:
        """What is in a subscription, without disturbing it.

        Args:
            subscription: Full name, `projects/PROJECT/subscriptions/ID`.
            messages: Most messages in the view; None for all.

        Raises:
            StatusError: NOT_FOUND.
        """
        return self.call(lambda: inspect(self.emulator, subscription, messages=messages))

    def reset(self) -> None:
        """Empties everything."""
        self.call(self.emulator.reset)


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop for the server: uvloop's where it is installed, since splicing is cheaper on it."""
    try:
        import uvloop  # noqa: PLC0415 - optional: not there on Windows
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
