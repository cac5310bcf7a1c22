"""The emulator's clock, shared with the processes of its stack: timers, leases and schedules follow it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from poolhouse_pubsub.core.clock import Clock


class SharedClock(Clock):
    """A running clock that writes how far it was moved to a file, which `pipeline.clock.ShiftedClock` reads."""

    def __init__(self, path: Path) -> None:
        """Begins as far ahead of the machine's time as the file says, for a stack that goes on with what was kept.

        Args:
            path: the file, there or not; its folder is there.
        """
        super().__init__()
        self._path = path
        self._ahead_s = 0.0
        with contextlib.suppress(OSError, ValueError):  # none, or it says no time
            ahead_s = float(path.read_text(encoding="ascii"))
            super().skip(ahead_s)
            self._ahead_s = ahead_s
        self._write()

    def skip(self, seconds: float) -> float:
        """Move time forward. The file first: a message that is delivered thereby must not find a worker in the past."""
        moment = super().skip(seconds)
        self._ahead_s += seconds
        self._write()
        return moment

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(repr(self._ahead_s), encoding="ascii")
        os.replace(fresh, self._path)
