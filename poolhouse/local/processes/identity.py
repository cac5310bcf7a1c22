"""Processes by identity, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_S = 0.02


@dataclass(frozen=True)
class ProcessId:
    """A process, distinguished by its start time from a later one with the same pid."""

    pid: int
    #: From `_started_at`.
    started_at: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process that has this pid now. Raises `psutil.NoSuchProcess`."""
        return cls(pid, _started_at(psutil.Process(pid)))

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        process = self._process()
        try:
            return process is not None and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:  # it went while we looked
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process is gone."""
        process = self._process()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is gone; False if it is still there after `timeout_s`."""
        # Not psutil's wait: that waits for init to reap a process that is no child of ours, up to a second longer.
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            # A second is close enough, since pids do not come round that fast.
            return process if abs(_started_at(process) - self.started_at) < 1 else None
        except psutil.NoSuchProcess:
            return None


def _started_at(process: psutil.Process) -> float:
    """When a process started, in seconds since the machine did; since the epoch where the system reports that alone.

    A clock that is set while a process runs, as after a laptop's sleep, must not make another process of it: Linux
    keeps start times since boot (proc_pid_stat(5), field 22), from which psutil reckons with the clock of now.

    Raises:
        psutil.NoSuchProcess: it is gone.
    """
    if sys.platform != "linux":
        return process.create_time()
    try:
        # The second field, the name in parentheses, may have anything in it.
        fields = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise psutil.NoSuchProcess(process.pid) from None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def end_group(group: int, number: signal.Signals) -> bool:
    """Signal every process of a group; False if there is none left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS: all that is left of it are zombies
        return False
    return True


def describe_exit(returncode: int) -> str:
    """How a process ended, for people: `exit code 1`, `killed by SIGKILL`."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"
