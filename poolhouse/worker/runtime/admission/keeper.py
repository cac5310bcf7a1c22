"""Keeps the shared limits of a worker: a thread that acts when something is due, and none while no limit is in use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime

import structlog

from poolhouse.worker.runtime.admission.limits import Limits
from poolhouse.worker.runtime.delivery import Delivery

#: Longest and shortest time between two looks at what is due, in seconds: the clock may have been moved meanwhile.
LONGEST_S, SHORTEST_S = 0.5, 0.05
#: Storage calls at the same time.
CALLS = 4
#: Time to give everything back at the end, in seconds.
GIVE_BACK_S = 1.0

_log = structlog.get_logger(__name__)


class LimitKeeper:
    """Acts for `Limits` from `start` until `stop`."""

    def __init__(
        self, limits: Limits, *, now: Callable[[], datetime], note_waiting: Callable[[Delivery, str], None]
    ) -> None:
        """Start nothing yet.

        Args:
            limits: what is kept.
            now: the clock.
            note_waiting: called with a delivery that has waited for some time, and with what it waits for.
        """
        self._note_waiting = note_waiting
        self._limits = limits
        limits.changed = self._wake_up
        self._now = now
        self._wake = threading.Event()
        self._stopped = False
        self._calls = ThreadPoolExecutor(CALLS, thread_name_prefix="limit-call")
        self._thread = threading.Thread(target=self._run, name="limits", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and give back what other workers can use."""
        self._stopped = True
        self._wake.set()
        self._thread.join(1)
        wait([self._calls.submit(give_back) for give_back in self._limits.give_back()], timeout=GIVE_BACK_S)
        self._calls.shutdown(wait=False, cancel_futures=True)

    def _wake_up(self) -> None:
        self._wake.set()

    def _run(self) -> None:
        limits = self._limits
        while not self._stopped:
            try:
                due = limits.next_act_at()
                if due is None:
                    self._wake.wait()
                    self._wake.clear()
                    continue
                limits.act(self._calls)
                limits.look()
                for delivery, limit in limits.long_waiting():
                    self._calls.submit(self._note_waiting, delivery, limit)
                due = limits.next_act_at()
            except Exception:  # noqa: BLE001 - a mistake about one limit must not stop all others
                _log.exception("limits could not be looked at")
                due = None
            wait_s = LONGEST_S if due is None else (due - self._now()).total_seconds()
            if self._wake.wait(min(LONGEST_S, max(SHORTEST_S, wait_s))):
                self._wake.clear()
