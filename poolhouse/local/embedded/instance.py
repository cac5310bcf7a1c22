"""One instance of a service: started, watched, started again with growing pauses when it dies, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from poolhouse.local.backend import ServiceState, ServiceStatus
from poolhouse.local.embedded.specs import Spec
from poolhouse.local.errors import StackError
from poolhouse.local.processes import parent_death
from poolhouse.local.processes.identity import describe_exit, end_group
from poolhouse.project import ROOT

_GUARD = Path(parent_death.__file__)
#: Pause before an instance that died is started again, in seconds: doubled each time, up to the longest.
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
#: An instance that ran this long, in seconds, is taken for sound: the pauses begin anew.
SOUND_S = 20.0
#: Lines of its log that the error of an instance which did not start shows.
_TAIL_LINES = 12


def pause_s(deaths: int) -> float:
    """The pause before the next start after that many deaths in a row, in seconds."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(deaths - 1, 30))


class Instance:
    """A process of a service. All methods belong to the supervisor's event loop."""

    def __init__(
        self,
        name: str,
        spec: Spec,
        log: Path,
        *,
        say: Callable[[str], None],
        on_group: Callable[[int, bool], None],
    ) -> None:
        """Starts nothing yet.

        Args:
            name: such as `worker-2`.
            spec: what to run.
            log: takes its output.
            say: takes a line for the supervisor's log.
            on_group: called with a process group, and whether it was made or has ended.
        """
        self.name = name
        self.spec = spec
        self.log = log
        self._say = say
        self._on_group = on_group
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._go = asyncio.Event()
        if not spec.gated:
            self._go.set()
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._state = ServiceState.STOPPED
        self._started_at = 0.0
        self._restarts = 0
        self._last_exit: str | None = None

    def start(self) -> None:
        """Begin to run it, and keep it running until `stop`."""
        self._stopping.clear()
        self._ended.clear()
        self._watching = asyncio.create_task(self._keep())

    @property
    def ready(self) -> bool:
        """Whether it runs and is ready."""
        return self._ready.is_set()

    def go(self) -> None:
        """Let a gated instance go on."""
        self._go.set()

    async def wait_ready(self) -> None:
        """Return once it is ready. Raises `StackError` with the end of its log if it dies before."""
        ready, ended = asyncio.create_task(self._ready.wait()), asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            ended.cancel()
        if not self.ready:
            raise StackError(f"{self.name} did not start ({self._last_exit}):\n{tail(self.log)}")

    async def stop(self, *, kill: bool = False, timeout_s: float | None = None) -> None:
        """End it and all of its process group: SIGTERM, and SIGKILL after its time.

        Args:
            kill: SIGKILL at once.
            timeout_s: time between the two signals, in seconds; None: the service's own, with a second SIGTERM where
                the service has it.
        """
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            end_group(process.pid, signal.SIGKILL) if kill else process.terminate()
            longest_s = self.spec.stop_timeout_s if timeout_s is None else timeout_s
            hurrying = None
            if timeout_s is None and self.spec.hurry_after_s is not None:
                hurrying = asyncio.create_task(self._hurry(process, self.spec.hurry_after_s))
            try:
                await asyncio.wait_for(process.wait(), longest_s)
            except TimeoutError:
                self._say(f"{self.name} did not stop in {longest_s:g} s: killed")
                end_group(process.pid, signal.SIGKILL)
            finally:
                if hurrying is not None:
                    hurrying.cancel()
        if self._watching is not None:
            await self._watching
        self._state = ServiceState.STOPPED

    def kill(self) -> None:
        """End it as a crash would; it is started again."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def status(self) -> ServiceStatus:
        """How it is doing."""
        up = self._state in {ServiceState.READY, ServiceState.STARTING} and self._process is not None
        return ServiceStatus(
            service=self.spec.service,
            instance=self.name,
            state=self._state,
            pid=self._process.pid if up and self._process else None,
            address=self.spec.address,
            uptime_s=time.monotonic() - self._started_at if up else None,
            restarts=self._restarts,
            last_exit=self._last_exit,
        )

    @staticmethod
    async def _hurry(process: asyncio.subprocess.Process, after_s: float) -> None:
        await asyncio.sleep(after_s)
        with contextlib.suppress(ProcessLookupError):
            process.terminate()

    async def _keep(self) -> None:
        deaths = 0
        while not self._stopping.is_set():
            try:
                await self._run_once()
            except OSError as error:  # a full disk, too many processes or open files: it may pass
                self._last_exit = f"can't start: {error.strerror or error}"
            self._ready.clear()
            self._ended.set()
            if self._stopping.is_set():
                break
            deaths = 1 if time.monotonic() - self._started_at > SOUND_S else deaths + 1
            self._restarts += 1
            self._state = ServiceState.BACKOFF
            self._say(f"{self.name} ended ({self._last_exit}); it starts again in {pause_s(deaths):.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s(deaths))

    async def _run_once(self) -> None:
        self._state = ServiceState.STARTING
        self._started_at = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *self.spec.command),
                env=dict(self.spec.environment),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE if self.spec.gated else asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                process_group=0,
                pass_fds=self.spec.descriptors,
            )
        self._process = process
        self._on_group(process.pid, True)
        getting_ready = asyncio.create_task(self._become_ready(process))
        try:
            code = await process.wait()
        finally:
            getting_ready.cancel()
        # Children that it left, such as a process pool's: nothing else would end them.
        end_group(process.pid, signal.SIGKILL)
        self._on_group(process.pid, False)
        self._last_exit = describe_exit(code)

    async def _become_ready(self, process: asyncio.subprocess.Process) -> None:
        await self._go.wait()
        self._started_at = time.monotonic()
        # What is before that in the log another process of this name may have written, while this one waited.
        offset = self.log.stat().st_size if self.log.exists() else 0
        if process.stdin is not None:
            process.stdin.write(b"go\n")
            process.stdin.close()
        await self.spec.readiness.wait(self.log, offset, pid=process.pid)
        self._state = ServiceState.READY
        self._ready.set()
        self._ended.clear()


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, indented; the reason why something died is there."""
    try:
        text = log.read_bytes()[-20_000:].decode(errors="replace")
    except FileNotFoundError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (its log is empty)"
