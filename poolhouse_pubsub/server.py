"""The emulator as a server in a thread of its own, for tests and for `invoke up`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from poolhouse_pubsub.control.faults import Fault
from poolhouse_pubsub.control.inspection import SubscriptionView, inspect
from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.status import server_stops
from poolhouse_pubsub.transforms import Models
from poolhouse_pubsub.transport.async_server import AsyncServer, new_loop, serve
from poolhouse_pubsub.transport.web_guard import WebGuard

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: How long `stop` waits for the thread, in seconds.
_STOP_WAIT_S = 5.0


class ClockControl:
    """The emulator's time, for other threads.

    Args:
        server: The server whose time it is.
    """

    def __init__(self, server: EmulatorServer) -> None:
        self._server = server

    def now(self) -> float:
        """Return the present moment, seconds since the epoch."""
        return self._server.emulator.clock.now()

    def advance(self, seconds: float) -> None:
        """Move time forward: leases, backoffs, retention and expiries that are due by then happen now, in order.

        Raises:
            ValueError: `seconds` is negative.
        """
        self._server.call(lambda: self._server.core.advance(seconds))

    def call_at(self, moment: float, callback: Callable[[float], None]) -> None:
        """Call back, on the server's thread, when the time is `moment` (seconds since the epoch).

        It is called in order with everything else that is due, so a schedule can follow the emulator's time. The
        callback must not wait for the server.
        """
        self._server.call(lambda: self._server.emulator.timers.timer(callback).set(moment))


class FaultControl:
    """The emulator's faults, for other threads.

    Args:
        server: The server whose faults they are.
    """

    def __init__(self, server: EmulatorServer) -> None:
        self._server = server

    def add(self, kind: Any, **options: Any) -> Fault:
        """Set a fault; the arguments are those of `poolhouse_pubsub.control.faults.Fault`."""
        fault = Fault(kind=kind, **options)
        return self._server.call(lambda: self._server.core.faults.add(fault))

    def remove(self, fault: Fault) -> None:
        """Take one fault away."""
        self._server.call(lambda: self._server.core.faults.remove(fault))

    def clear(self) -> None:
        """Take all faults away."""
        self._server.call(self._server.core.faults.clear)

    def restart(self) -> None:
        """Let clients see a restart: streams end with UNAVAILABLE, leases are lost, nothing else is."""
        self._server.call(lambda: self._server.core.restart.now(server_stops()))


class EmulatorServer:
    """A Pub/Sub emulator in this process; usable several times in one process.

        with EmulatorServer() as server:
            os.environ["PUBSUB_EMULATOR_HOST"] = server.address

    Args:
        host: Address to listen on.
        port: Port to listen on, 0 for a free one.
        listener: A socket that listens already, instead of both; the server closes it.
        topology: Topics and subscriptions that are there before the port answers: a file (`declared.load`) or the
            parsed form.
        project: Project of what the topology names by an id alone.
        data_dir: Folder that keeps the state over restarts; None to keep nothing.
        clock: The time; real time when None.
        seed: Of everything random, for runs that can be repeated.
        export_dir: Folder that BigQuery and Bigtable subscriptions write their tables to; `exports` in `data_dir` when
            None, nowhere without one.
        enforce_iam: Bindings (members by role) that hold in every project: every other grant is a policy of a resource,
            and what is not granted is refused. None to enforce nothing.
        quotas: Throughput a second by kind, such as `{"publish": 1_000_000}` (`service.throughput.QUOTAS`).
        guard: Keeps web pages of other sites out; by default every host and origin that is not local.
        ui: Serves the console, pages for a browser under `/ui`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        listener: socket.socket | None = None,
        topology: Any = None,
        project: str = "local-project",
        data_dir: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
        export_dir: str | os.PathLike[str] | None = None,
        enforce_iam: Mapping[str, Iterable[str]] | None = None,
        quotas: Mapping[str, float] | None = None,
        guard: WebGuard | None = None,
        ui: bool = False,
    ) -> None:
        self.host = host
        self._guard = guard
        self._ui = ui
        self._port = port
        self._listener = listener
        self._topology = topology
        self._project = project
        self._data_dir = Path(data_dir) if data_dir is not None else None
        self._clock = clock
        self._seed = seed
        self._enforce_iam = enforce_iam
        self._quotas = quotas
        self._export_dir = Path(export_dir) if export_dir is not None else None
        self._core: AsyncServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self.clock = ClockControl(self)
        self.faults = FaultControl(self)

    def start(self) -> Self:
        """Start it; it answers when this returns.

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
        """Stop it; open streams end with UNAVAILABLE. Does nothing when it does not run."""
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
        try:
            async with serve(
                host=self.host,
                port=self._port,
                listener=self._listener,
                topology=self._topology,
                project=self._project,
                data_dir=self._data_dir,
                clock=self._clock,
                seed=self._seed,
                export_dir=self._export_dir,
                enforce_iam=self._enforce_iam,
                quotas=self._quotas,
                guard=self._guard,
                ui=self._ui,
            ) as core:
                self._core = core
                self._loop = asyncio.get_running_loop()
                self._stopping = asyncio.Event()
                self._port = core.port
                ready.set()
                await self._stopping.wait()
        except BaseException as error:
            if ready.is_set():
                raise
            started.append(error)  # raised again by start(), on the thread that called it
            ready.set()

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

    @property
    def models(self) -> Models:
        """What stands in for models of AI inference transforms, by endpoint; a test registers its own here.

        Each is a function that gets the request's JSON object and returns the JSON value that becomes the data.
        """
        return self.core.emulator.models

    @property
    def ingestion_failures(self) -> list[Any]:
        """What import topics could not import: IngestionFailureEvents, where the topic's platform logs are on."""
        return self.call(lambda: self.core.ingestion_failures)

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a function on the server's thread and return what it returns."""
        if self._thread is None or self._loop is None or threading.current_thread() is self._thread:
            return function()

        async def run() -> _T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def inspect(self, subscription: str, *, messages: int | None = None) -> SubscriptionView:
        """Return what is in a subscription, without disturbing it.

        Args:
            subscription: Full name, `projects/PROJECT/subscriptions/ID`.
            messages: Most messages in the view; None for all.

        Raises:
            StatusError: NOT_FOUND.
        """
        return self.call(lambda: inspect(self.emulator, subscription, messages=messages))

    def reset(self) -> None:
        """Empty everything."""
        self.call(self.emulator.reset)
