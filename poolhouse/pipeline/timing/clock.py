"""The time as the processes of a deployment see it: the machine's, or a local stack's that is moved forward."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta

#: What is dated further ahead than this was written by a clock that was wrong: those of two machines differ by less.
MARGIN = timedelta(seconds=60)


def now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


class ShiftedClock:
    """The machine's time and as many seconds as a file says, such as a local stack's `CLOCK_FILE`. Thread-safe.

    The file is read again whenever it has changed. While there is none, or it can't be read, nothing more is added.
    """

    def __init__(self, path: str) -> None:
        """Reads nothing yet.

        Args:
            path: a file with a number of seconds.
        """
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """The present."""
        with contextlib.suppress(OSError, ValueError, OverflowError):
            stat = os.stat(self._path)
            seen = (stat.st_ino, stat.st_mtime_ns)
            if seen != self._seen:
                with open(self._path, encoding="ascii") as file:
                    self._ahead = timedelta(seconds=float(file.read()))
                self._seen = seen
        return now() + self._ahead
