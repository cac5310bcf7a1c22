"""The limits of a task type within one process: `max_concurrency_per_process` and `rate_per_process`."""

from __future__ import annotations

from collections.abc import Callable

from poolhouse.pipeline.limits.rate import RateWindow, parse_rate
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.admission.gate import Line


class ProcessGate:
    """`Gate` of one task type."""

    def __init__(self, handler: Handler, *, monotonic: Callable[[], float]) -> None:
        rate = handler.rate_per_process
        self.line = Line()
        self.title = f"the limits of {handler.task_type} within a worker process"
        self._most = handler.max_concurrency_per_process
        self._window = RateWindow(parse_rate(rate)) if rate else None
        self._monotonic = monotonic
        self._running = 0

    def open(self) -> bool:
        room = self._most is None or self._running < self._most
        return room and self.wait_s <= 0

    def enter(self) -> None:
        self._running += 1
        if self._window is not None:
            self._window.start(self._monotonic())

    def start(self) -> None:
        """A start was counted when it passed."""

    def leave(self, *, started: bool) -> None:
        self._running -= 1

    def full(self, waiting: int) -> float | None:
        return None

    @property
    def wait_s(self) -> float:
        """Seconds until the rate allows the next start; 0 where it does now."""
        return self._window.wait_s(self._monotonic()) if self._window else 0.0
