"""Fires the timers: a thread in every process that keeps dead letters or schedules, so in every deployment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from poolhouse.pipeline.errors import ServiceUnavailable
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.timing.timers import Timers

#: Seconds between two looks at the timers: a list call each.
LOOK_S = 30.0
#: What comes due within this time is fired at a look, in seconds: Pub/Sub puts off what is early, to the second.
LOOKAHEAD_S = 2 * LOOK_S

#: Seconds between two looks at the clock.
CLOCK_S = 1.0

_log = structlog.get_logger(__name__)


class TimerLoop:
    """Looks at the timers from `start` until `stop`."""

    def __init__(
        self,
        timers: Timers,
        publisher: Publisher,
        *,
        now: Callable[[], datetime],
        look_s: float = LOOK_S,
        lookahead_s: float = LOOKAHEAD_S,
    ) -> None:
        """Nothing is called yet.

        Args:
            timers: those of the deployment.
            publisher: its queues; not closed here.
            now: the clock.
            look_s: pause between two looks, in seconds.
            lookahead_s: how much earlier than due a timer is fired, in seconds; at least `look_s`.
        """
        self._timers = timers
        self._publisher = publisher
        self._now = now
        self._look_s = look_s
        self._lookahead = timedelta(seconds=lookahead_s)
        self._stopping = threading.Event()
        #: Whether a look is in hand, or the first is still to come.
        self.busy = True
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self, timeout_s: float = 5) -> None:
        """End; a look in hand is finished, for as long as `timeout_s`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def look(self) -> int:
        """Fire what is due; returns how many timers were."""
        self.busy = True
        try:
            fired = self._timers.fire(self._publisher, until=self._now() + self._lookahead)
        except ServiceUnavailable as error:
            _log.warning("timers wait for a service", error=str(error))
            return 0
        finally:
            self.busy = False
        if fired:
            _log.info("timers fired", count=fired)
        return fired

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:  # noqa: BLE001 - delayed tasks must not stop for good on one mistake of ours
                _log.exception("the timers could not be looked at")
            self._wait()

    def _wait(self) -> None:
        """Wait for the next look: by the clock, which goes on while a machine sleeps, and which may be set."""
        began, ends_s = self._now(), time.monotonic() + self._look_s
        while not self._stopping.wait(min(CLOCK_S, max(0.0, ends_s - time.monotonic()))):
            if time.monotonic() >= ends_s or not 0 <= (self._now() - began).total_seconds() < self._look_s:
                return
