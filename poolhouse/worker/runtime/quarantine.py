"""Quarantine of tasks that were lost with their worker: they run one at a time, so that a crash costs no other task.

The records don't show which task killed the worker. Run side by side again, each would lose an attempt at every
crash, until all are dead. Tasks that have not been lost run beside a quarantined one as always.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from poolhouse.pipeline.tasks.records import Outcome, TaskRecord
from poolhouse.worker.runtime.delivery import Delivery

#: Seconds after which a quarantined task is cleared though it still runs: others must not wait for a long task.
CLEARED_AFTER_S = 30.0


def lost_its_worker(record: TaskRecord) -> bool:
    """Return whether the attempt before the one that is about to start was lost with its worker."""
    return len(record.attempts) > 1 and record.attempts[-2].outcome is Outcome.LOST


class Quarantine:
    """Lets one quarantined task run in this process at a time; others are parked, with their leases. Thread-safe."""

    def __init__(self, resume: Callable[[Delivery], None]) -> None:
        """Start empty.

        Args:
            resume: called with a parked delivery when its turn has come.
        """
        self._resume = resume
        self._running: Delivery | None = None
        self._clearing: threading.Timer | None = None
        self._parked: deque[Delivery] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def admit(self, delivery: Delivery) -> bool:
        """Return whether it may start now; if not, it is parked. A delivery that was admitted is admitted again."""
        with self._lock:
            if self._running is delivery:
                return True
            if self._running is not None:
                self._parked.append(delivery)
                return False
            self._running = delivery
            self._clearing = timer = threading.Timer(CLEARED_AFTER_S, self.leave, (delivery,))
        timer.daemon = True
        timer.start()
        return True

    def leave(self, delivery: Delivery) -> None:
        """Note that a delivery has ended, whether it was quarantined or not.

        One that was resumed may end without asking to be admitted, since another worker has its task: the next one's
        turn has come then, too.
        """
        with self._lock:
            if self._running is not None and self._running is not delivery:
                return
            self._running = None
            if self._clearing is not None:
                self._clearing.cancel()
            following = self._parked.popleft() if self._parked and not self._closed else None
        if following is not None:
            self._resume(following)

    @property
    def waiting(self) -> bool:
        """Whether a delivery is parked."""
        with self._lock:
            return bool(self._parked)

    def take(self, queue: str) -> list[Delivery]:
        """Take back what is parked of a queue."""
        with self._lock:
            taken = [delivery for delivery in self._parked if delivery.queue == queue]
            self._parked = deque(delivery for delivery in self._parked if delivery.queue != queue)
            return taken

    def close(self) -> list[Delivery]:
        """Resume nothing more; returns what is parked."""
        with self._lock:
            self._closed = True
            left = list(self._parked)
            self._parked.clear()
            return left
