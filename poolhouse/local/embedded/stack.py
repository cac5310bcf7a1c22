"""What runs in an embedded stack, in the supervisor's process and as its children.

The Pub/Sub emulator runs in this process; the storage server, the API and the workers as children: started together,
ready in order, stopped clients first, started again when they die. The console starts when it is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolhouse.local import cloud_only
from poolhouse.local.backend import ServiceState, ServiceStatus, UpOptions, traces_dir
from poolhouse.local.embedded import specs
from poolhouse.local.embedded.autoscale import LOOK_S
from poolhouse.local.embedded.data_dir import Kept
from poolhouse.local.embedded.instance import Instance
from poolhouse.local.embedded.reload import Reloads
from poolhouse.local.embedded.socket_activation import OnDemand
from poolhouse.local.embedded.specs import Spec
from poolhouse.local.embedded.workers import Workers
from poolhouse.local.errors import StackError
from poolhouse.local.processes import environment
from poolhouse.local.processes.addresses import Addresses
from poolhouse.local.processes.reaper import Reaper
from poolhouse.local.storage import object_events
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.scaling import counted_backlog
from poolhouse.pipeline.errors import ConfigError, PoolhouseError, StoreUnavailable

if TYPE_CHECKING:
    from poolhouse.pipeline.control.control_store import ControlStore, Known
    from poolhouse_pubsub.server import EmulatorServer

#: A log larger than this starts anew, its old text beside it: a stack may run for weeks.
LONGEST_LOG_BYTES = 50_000_000
_LOG_CHECK_S = 30


class EmbeddedStack:
    """One stack, from its start to its end."""

    def __init__(
        self,
        options: UpOptions,
        *,
        state_dir: Path,
        addresses: Addresses,
        data: Path,
        reaper: Reaper,
        say: Callable[[str], None],
    ) -> None:
        """Starts nothing yet.

        Args:
            options: what was asked for.
            state_dir: for its logs, and for what it keeps.
            addresses: where all of it will be; given up in the end.
            data: a folder for objects.
            reaper: ends what this process leaves behind.
            say: takes a line for the log.
        """
        self._options = options
        self._addresses = addresses
        self._endpoints = endpoints = addresses.endpoints
        self._kept = Kept.of(state_dir) if options.keep else None
        self._reaper = reaper
        self._say = say
        self._logs = state_dir / "logs"
        clock_file = self._kept.clock if self._kept else state_dir / "clock"
        if self._kept is None:
            clock_file.unlink(missing_ok=True)  # an earlier stack's
        own = environment.child(
            {
                **os.environ,
                **options.environment,
                "CLOCK_FILE": str(clock_file),
                "TRACES_DIR": str(traces_dir(state_dir, "embedded")),
            }
        )
        objects = self._kept.objects if self._kept else data / "objects"
        declared = topology.load(specs.pipeline_file(own))
        #: What whoever brings it up should know.
        self.notes = tuple(cloud_only.notes(declared))
        self._specs = specs.specs(
            endpoints,
            declared=declared,
            data=objects,
            listener=addresses.api.fileno(),
            own=own,
            gcs_limits=options.gcs_limits,
        )
        self._reloads: Reloads | None = None
        if options.reload:
            self._specs = specs.reloading(self._specs, own=own)
            self._reloads = Reloads(self._again, say=say)
        self._storage = self._instance("storage", self._specs["storage"])
        self._api = self._instance("api", self._specs["api"])
        self._queues, self._events = declared.by_name, object_events.flags(declared, project=endpoints.project)
        self._workers = Workers(self._specs["worker"], declared, options, make=self._instance, say=say)
        #: One, where pipeline.toml declares schedules; or where there may be no worker to fire timers.
        self._schedulers: list[Instance] = []
        if declared.schedules or options.autoscale:
            self._schedulers.append(self._instance("scheduler", self._specs["scheduler"]))
        spec = specs.console(endpoints, state_dir=state_dir, listener=addresses.console.fileno(), own=own)
        self._console = OnDemand(self._instance("console", spec), addresses.console)
        self._emulator: EmulatorServer | None = None
        self._emulator_started_at: float | None = None
        #: What is decided about the queues, as last seen; only where workers follow the backlog.
        self._control: tuple[ControlStore, Known] | None = None
        self._changing = asyncio.Lock()
        self.stop_asked = asyncio.Event()

    @property
    def _children(self) -> list[Instance]:
        return [self._storage, *self._clients]

    @property
    def _clients(self) -> list[Instance]:
        """Those who work on the queue and the bucket."""
        return [self._api, *self._workers.members, *self._schedulers]

    async def start(self) -> None:
        """Bring everything up; returns once all is ready.

        Raises:
            StackError: something did not get ready in time, or at all.
        """
        async with self._changing:
            await self._start()

    async def _start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for child in self._children:
            child.log.write_bytes(b"")
            child.start()
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await _on_a_thread(self._start_emulator)
                await self._storage.wait_ready()
                await _on_a_thread(self._realise)
                for child in self._children:
                    child.go()
                await asyncio.gather(*(child.wait_ready() for child in self._children))
        except TimeoutError:
            late = [status.instance for status in self.status() if status.state is not ServiceState.READY]
            raise StackError(
                f"not ready after {self._options.timeout_s:g} s: {', '.join(late)}; see {self._logs}"
            ) from None
        self._console.open()
        if self._reloads is not None:
            for child in (self._api, *self._workers.members):
                self._reloads.prepare(child.name)

    async def stop(self) -> None:
        """End everything: first those who work on the queue and the bucket, then these."""
        async with self._changing:
            ends = [child.stop() for child in self._clients]
            ends += [self._workers.gone(), self._console.stop()]
            if self._reloads is not None:
                ends.append(self._reloads.stop())
            await asyncio.gather(*ends)
            if self._emulator is not None:
                await asyncio.to_thread(self._emulator.stop)
            await self._storage.stop()
            self._addresses.release()

    def status(self) -> tuple[ServiceStatus, ...]:
        """Every instance, in the order of `poolhouse.local.backend.SERVICES`, and the console once it was opened."""
        started = self._emulator_started_at
        emulator = ServiceStatus(
            service="pubsub",
            instance="pubsub",
            state=ServiceState.STARTING if started is None else ServiceState.READY,
            pid=os.getpid(),
            address=self._endpoints.pubsub_host,
            uptime_s=None if started is None else time.monotonic() - started,
        )
        problems = self._reloads.problems if self._reloads is not None else {}
        children = (replace(child.status(), note=problems.get(child.name)) for child in self._children)
        return (emulator, *children, *self._console.status())

    async def answer(self, call: str, arguments: dict[str, Any]) -> Any:
        """A call over the control socket."""
        if call == "status":
            return [asdict(status) for status in self.status()]
        if call == "scaling":
            return [asdict(figures) for figures in self._workers.figures()]
        async with self._changing:
            if call == "restart":
                return await self._restart(arguments["service"], kill=arguments["kill"])
            if call == "scale":
                return await self._scale(arguments["service"], arguments["instances"])
        raise StackError(f"the supervisor knows no call {call!r}")

    async def follow_code(self) -> None:
        """Put saved code in the place of what runs, where the options say so; runs until cancelled."""
        if self._reloads is None:
            return
        from poolhouse.local.embedded import watch  # noqa: PLC0415 - only a stack that reloads needs it

        worker = self._specs["worker"].environment
        search_path = [*sys.path, *environment.search_path(worker)]
        watched = watch.scopes(
            worker["TASK_HANDLERS"].split(","), search_path=search_path, declaration=Path(worker["PIPELINE_FILE"])
        )
        # An editor may have taken all the watches that Linux has for a user (inotify(7), max_user_watches).
        for polling, then in ((False, "files are polled from now on"), (True, "saved code is not seen any more")):
            try:
                await watch.watch(watched, self._reload, polling=polling)
            except* (OSError, RuntimeError) as errors:
                self._say(f"watching files failed, {then}: {errors.exceptions[0]}")

    async def follow_backlog(self) -> None:
        """Give each queue as many workers as its backlog asks for, where the options say so; runs until cancelled."""
        while self._workers.follow_backlog:
            await asyncio.sleep(LOOK_S)
            backlogs = await asyncio.to_thread(self._backlogs)
            async with self._changing:
                await self._forget(self._workers.follow(backlogs, at_s=time.monotonic()).dismissed)

    async def cap_logs(self) -> None:
        """Keep the logs from growing without end; runs until cancelled."""
        while True:
            await asyncio.sleep(_LOG_CHECK_S)
            for log in self._logs.glob("*.log"):
                if log.stat().st_size > LONGEST_LOG_BYTES:
                    # The writer holds the file open for appending: copied and emptied, not renamed.
                    await asyncio.to_thread(shutil.copyfile, log, log.with_suffix(".log.1"))
                    os.truncate(log, 0)

    def _start_emulator(self) -> None:
        # Imported here, on a thread: it takes a second, and the children are looked after meanwhile.
        from poolhouse.local.embedded.shared_clock import SharedClock  # noqa: PLC0415
        from poolhouse_pubsub.server import EmulatorServer  # noqa: PLC0415
        from poolhouse_pubsub.transport.web_guard import WebGuard  # noqa: PLC0415

        kept = self._kept.pubsub if self._kept is not None else None
        guard = WebGuard.from_environment(self._specs["api"].environment)
        clock = SharedClock(Path(self._specs["api"].environment["CLOCK_FILE"]))
        self._emulator = EmulatorServer(
            listener=self._addresses.pubsub, data_dir=kept, guard=guard, clock=clock, ui=True
        ).start()
        self._emulator_started_at = time.monotonic()

    def _realise(self) -> None:
        from google.api_core import exceptions as google_errors  # noqa: PLC0415 - heavy, as above

        from poolhouse.local.provision import realise  # noqa: PLC0415
        from poolhouse.pipeline.config import settings  # noqa: PLC0415

        os.environ.update(self._specs["api"].environment)
        try:
            realise(settings.load())
        except (google_errors.GoogleAPIError, OSError) as error:  # requests' errors are of the latter kind
            raise StackError(f"the topics, subscriptions and the bucket could not be made: {error}") from error

    async def _restart(self, service: str, *, kill: bool) -> None:
        chosen = [child for child in self._children if child.spec.service == service]
        if not chosen:
            raise StackError(f"{service} can't be restarted alone (what can: storage, api, worker, scheduler)")
        await asyncio.gather(*(child.stop(kill=kill) for child in chosen))
        await self._start_again(chosen)

    async def _scale(self, service: str, instances: int) -> None:
        if service != "worker":
            raise StackError(f"only workers can be scaled, not {service}")
        change = self._workers.scale(instances)
        await self._forget(change.dismissed)
        await self._workers.gone()
        await asyncio.gather(*(member.wait_ready() for member in change.added))
        if self._reloads is not None:
            for member in change.added:
                self._reloads.prepare(member.name)

    async def _forget(self, dismissed: Sequence[str]) -> None:
        """Let no successors wait for workers that are stopping."""
        if self._reloads is not None:
            await asyncio.gather(*(self._reloads.forget(name) for name in dismissed))

    def _backlogs(self) -> dict[str, int | None]:
        """Messages of each queue that are not finished."""
        from poolhouse_pubsub.status import StatusError  # noqa: PLC0415 - heavy, as above

        assert self._emulator is not None
        found: dict[str, int | None] = dict.fromkeys(self._queues)
        paused = self._paused()
        for name, queue in self._queues.items():
            paths = [f"projects/{self._endpoints.project}/subscriptions/{tier.subscription}" for tier in queue.tiers]
            with contextlib.suppress(StatusError):  # one has been deleted
                figures = [self._emulator.inspect(path, messages=0) for path in paths]
                found[name] = counted_backlog(
                    unfinished=sum(tier.unacked for tier in figures),
                    in_flight=sum(tier.outstanding for tier in figures),
                    paused=name in paused,
                )
        return found

    def _paused(self) -> Container[str]:
        """The names of the paused queues; as they were while storage does not answer."""
        from poolhouse.pipeline.config import settings  # noqa: PLC0415 - heavy, as above
        from poolhouse.pipeline.control.control_store import ControlStore, Known  # noqa: PLC0415
        from poolhouse.pipeline.store import open_store  # noqa: PLC0415

        if self._control is None:
            self._control = ControlStore(open_store(settings.load())), Known()
        store, known = self._control
        with contextlib.suppress(StoreUnavailable, ConfigError):
            self._control = store, store.look(known)
        return self._control[1].control.paused

    async def _start_again(self, chosen: list[Instance]) -> None:
        for child in chosen:
            child.start()
            child.go()
        await asyncio.gather(*(child.wait_ready() for child in chosen))

    async def _reload(self, concerned: frozenset[str]) -> None:
        async with self._changing:
            from poolhouse.local.embedded.watch import DECLARATION  # noqa: PLC0415 - as in `follow_code`

            assert self._reloads is not None
            if DECLARATION in concerned and not await self._declare_again():
                return
            chosen = [child for child in (self._api, *self._workers.members) if child.spec.service in concerned]
            serving = await asyncio.gather(*(self._reloads.replace(child) for child in chosen))
            for child in serving:
                self._reloads.prepare(child.name)
            if any(new is not old for new, old in zip(serving, chosen, strict=True)):
                await self._renew_schedulers()
            by_name = {child.name: child for child in serving}
            self._api = by_name.get(self._api.name, self._api)
            self._workers.put(by_name)

    async def _declare_again(self) -> bool:
        """Make what pipeline.toml declares now; False, and the problem logged, where that fails."""
        assert self._reloads is not None
        try:
            declared = topology.load(self._specs["worker"].environment["PIPELINE_FILE"])
            if self._workers.follow_backlog and declared.by_name.keys() != self._queues.keys():
                raise StackError("other queues with --autoscale take a ./invoke down and up")
            if object_events.flags(declared, project=self._endpoints.project) != self._events:
                raise StackError("triggers for other folders take a ./invoke down and up")
            await _on_a_thread(self._realise)
        except PoolhouseError as error:
            self._reloads.problems[self._api.name] = f"the saved pipeline.toml does not count, the old does: {error}"
            self._say(self._reloads.problems[self._api.name])
            return False
        self._queues = declared.by_name
        if declared.schedules and not self._schedulers:
            self._schedulers.append(self._instance("scheduler", self._specs["scheduler"]))
        elif not declared.schedules:
            await asyncio.gather(*(scheduler.stop() for scheduler in self._schedulers))
            self._schedulers.clear()
        return True

    async def _renew_schedulers(self) -> None:
        """Start them on code that is known to start. Without waiting: a run due meanwhile is made late."""
        for scheduler in self._schedulers:
            await scheduler.stop()
            scheduler.start()
            scheduler.go()

    def _again(self, name: str) -> Instance:
        return self._instance(name, self._specs["api"]) if name == "api" else self._workers.another(name)

    def _instance(self, name: str, spec: Spec) -> Instance:
        return Instance(name, spec, self._logs / f"{name}.log", say=self._say, on_group=self._reaper.group)


async def _on_a_thread(function: Callable[[], None]) -> None:
    """Run a function on a thread that nothing waits for once this is cancelled, the end of the process included."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(None)

    def run() -> None:
        failure: BaseException | None = None
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=run, daemon=True).start()
    await done
