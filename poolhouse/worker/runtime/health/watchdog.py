"""Ends a worker that is stuck, so that whoever keeps it running starts another."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import structlog

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.worker.runtime.health.vitals import Judge, Vitals

#: Looks in the time after which a worker is ended: a machine that slept, or a handler that held up all threads, makes
#: one look late, and the next one finds that all goes on.
LOOKS = 6

_log = structlog.get_logger(__name__)


class Stuck(PoolhouseError):
    """A worker that has not got on with its work for too long."""


class Watchdog:
    """Looks at a worker again and again, from `start` until `stop`."""

    def __init__(
        self,
        vitals: Callable[[], Vitals],
        *,
        after_s: float,
        end: Callable[[Stuck], None],
        last_resort_s: float,
        kill: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL),
    ) -> None:
        """Start nothing yet.

        Args:
            vitals: of the worker. They wait for no lock: a lock may be what it hangs on.
            after_s: how long it may be stuck, in seconds.
            end: lets it end in order; called once.
            last_resort_s: seconds after which `kill` is called where that has not ended the process.
            kill: ends the process, whatever its threads do.
        """
        self._vitals = vitals
        self._after_s = after_s
        self._end = end
        self._last_resort_s = last_resort_s
        self._kill = kill
        self._judge = Judge()
        self._looks = 0
        self._since_s: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A worker that is being ended still is."""
        self._stopping.set()

    def look(self, at_s: float) -> Stuck | None:
        """Look once; what the worker is to be ended for, if it has been stuck for too long.

        Args:
            at_s: the present time, in seconds of a clock that never goes back.
        """
        problems = self._judge.problems(self._vitals(), at_s=at_s)
        if not problems:
            self._since_s, self._looks = None, 0
            return None
        self._looks += 1
        if self._since_s is None:
            self._since_s = at_s
            _log.warning("the worker is stuck", problems=problems, ends_after_s=self._after_s)
        if at_s - self._since_s < self._after_s or self._looks < LOOKS:
            return None
        return Stuck(f"the worker is stuck: {'; '.join(problems)}")

    def _run(self) -> None:
        while not self._stopping.wait(self._after_s / LOOKS):
            try:
                stuck = self.look(time.monotonic())
            except Exception:  # noqa: BLE001 - a mistake of ours in one look must not end the looking
                _log.exception("the worker could not be looked at")
                continue
            if stuck is not None:
                _log.error("a stuck worker is ended", error=str(stuck))
                faulthandler.dump_traceback(file=sys.__stderr__ or 2)
                last_resort = threading.Timer(self._last_resort_s, self._kill)
                last_resort.daemon = True
                last_resort.start()
                self._end(stuck)
                return
