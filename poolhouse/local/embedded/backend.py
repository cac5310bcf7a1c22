"""The backend that needs nothing but this machine: processes under a supervisor."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from poolhouse.local import state
from poolhouse.local.backend import Endpoints, QueueScale, ServiceState, ServiceStatus, UpOptions
from poolhouse.local.embedded import control_socket
from poolhouse.local.embedded.data_dir import Kept
from poolhouse.local.embedded.instance import tail
from poolhouse.local.embedded.specs import STOP_MARGIN_S, WORKER_GRACE_S
from poolhouse.local.embedded.supervisor import Config
from poolhouse.local.errors import NoStack, StackError
from poolhouse.local.processes import environment
from poolhouse.local.state import StackState
from poolhouse.project import ROOT

#: Time that a supervisor gets beside the one for a start, in seconds: for its own imports, and for a tidy end.
_SUPERVISOR_MARGIN_S = 15.0


class Embedded:
    """Starts supervisors, and talks to the one that the state file names."""

    name = "embedded"
    clock_moves_all = True

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        #: The supervisor, where this very object started it: kept for its pipe, and to be waited for.
        self._process: subprocess.Popen[bytes] | None = None

    def up(self, options: UpOptions, say: Callable[[str], None]) -> Endpoints:
        """Start a supervisor and wait until it says that everything is ready."""
        state.prepare(self._state_dir)
        config = Config(state_dir=self._state_dir, options=options)
        with (self._logs / "supervisor.log").open("w") as log:
            process = subprocess.Popen(
                (sys.executable, "-m", "poolhouse.local.embedded.supervisor", config.write()),
                cwd=ROOT,
                env=environment.child(),
                # Attached, the pipe's other end is this process: the supervisor sees it close.
                stdin=subprocess.PIPE if options.attached else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # A session of its own: Ctrl-C and a closed terminal reach it by `down` alone.
                start_new_session=True,
            )
        self._process = process
        try:
            self._follow(process, say, timeout_s=options.timeout_s)
        except BaseException:  # Ctrl-C too: half a stack is none
            process.terminate()
            self._let_go(timeout_s=WORKER_GRACE_S + STOP_MARGIN_S)
            raise
        return self.endpoints()

    def down(self, *, volumes: bool = False) -> bool:
        """SIGTERM to the supervisor, and SIGKILL if it has not ended in the time that its children have.

        What the stack does not keep goes with it; `volumes` is about what `up --keep` keeps.
        """
        stopped = self._stop()
        if volumes:
            Kept.of(self._state_dir).delete()
        return stopped

    def _stop(self) -> bool:
        found = state.read_live(self._state_dir)
        if found is None or found.supervisor is None:
            self._forget_stale()
            self._let_go(timeout_s=WORKER_GRACE_S + STOP_MARGIN_S)  # it may be on its way out
            return False
        found.supervisor.signal(signal.SIGTERM)
        grace_s = float(found.details.get("grace_s", WORKER_GRACE_S))
        if not found.supervisor.wait(grace_s + 2 * STOP_MARGIN_S):
            found.supervisor.signal(signal.SIGKILL)
            found.supervisor.wait(STOP_MARGIN_S)
        self._let_go()
        return True

    def endpoints(self) -> Endpoints:
        """As the state file has them."""
        return self._live().endpoints

    def missing(self) -> None:
        """None: the supervisor starts again whatever ends."""
        return

    def status(self) -> tuple[ServiceStatus, ...]:
        """As the supervisor reports."""
        answer = self._call("status", timeout_s=10)
        return tuple(ServiceStatus(**{**entry, "state": ServiceState(entry["state"])}) for entry in answer)

    def scaling(self) -> tuple[QueueScale, ...]:
        """As the supervisor reports."""
        return tuple(QueueScale(**entry) for entry in self._call("scaling", timeout_s=10))

    def log_files(self) -> Mapping[str, Path]:
        """One file an instance, and the supervisor's own."""
        return {path.stem: path for path in sorted(self._logs.glob("*.log"))}

    def log_command(self, service: str | None, *, follow: bool, lines: int) -> list[str] | None:
        """None: there are files."""
        return None

    def restart(self, service: str, *, kill: bool = False) -> None:
        """Through the supervisor."""
        self._call("restart", service=service, kill=kill)

    def scale(self, service: str, instances: int) -> None:
        """Through the supervisor."""
        self._call("scale", service=service, instances=instances)

    @property
    def _logs(self) -> Path:
        return self._state_dir / "logs"

    def _let_go(self, *, timeout_s: float | None = None) -> None:
        """Wait for the supervisor that this object started, kill it if it does not end, and close the pipe to it."""
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its reaper ends its children
                self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None

    def _follow(self, process: subprocess.Popen[bytes], say: Callable[[str], None], *, timeout_s: float) -> None:
        """Read what the supervisor says until it is ready. Raises `StackError` where it gives up, or says nothing."""
        assert process.stdout is not None
        # It keeps the time itself, from its imports on, and then stops what it has started.
        deadline_s = time.monotonic() + timeout_s + _SUPERVISOR_MARGIN_S
        with process.stdout as output:
            for line in _lines(output.fileno(), deadline_s=deadline_s):
                message = json.loads(line)
                if "error" in message:
                    raise StackError(message["error"])
                if "ready" in message:
                    return
                say(message["say"])
        raise StackError(f"the supervisor ended early:\n{tail(self._logs / 'supervisor.log')}")

    def _live(self) -> StackState:
        found = state.read_live(self._state_dir)
        if found is None:
            raise NoStack
        return found

    def _call(self, name: str, *, timeout_s: float = 60, **arguments: Any) -> Any:
        return control_socket.call(Path(self._live().details["control"]), name, timeout_s=timeout_s, **arguments)

    def _forget_stale(self) -> None:
        found = state.read(self._state_dir)
        if found is not None and found.stale:
            state.remove(self._state_dir)


def _lines(descriptor: int, *, deadline_s: float) -> Iterator[bytes]:
    """The lines of a pipe until it is closed. Raises `StackError` at the deadline, by `time.monotonic`."""
    rest = b""
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
            raise StackError("the stack's supervisor did not answer in time: see ./invoke logs --service supervisor")
        data = os.read(descriptor, 64 * 1024)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
