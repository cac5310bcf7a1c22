"""Limits by task type in one worker process: attempts at the same time, and attempts started in a span of time.

A delivery over its type's limit is parked: it holds its lease, but no thread, until there is room.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from poolhouse.worker.rate import RateWindow, parse_rate
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.delivery import Delivery


@dataclass
class _Gate:
    handler: Handler
    most: int | None
    window: RateWindow | None
    running: int = 0
    parked: deque[Delivery] = field(default_factory=deque)
    timer: threading.Timer | None = None


class Limits:
    """The gates of all task types that have limits. Thread-safe."""

    def __init__(self, resume: Callable[[Delivery], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start without gates: a task type's is made with its first delivery.

        Args:
            resume: called with a parked delivery when it has been admitted.
            monotonic: the clock, in seconds.
        """
        self._resume = resume
        self._monotonic = monotonic
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()
        self._closed = False

    def admit(self, handler: Handler, delivery: Delivery) -> bool:
        """Whether an attempt may start now; if not, the delivery is parked. Each admission wants a `leave`."""
        if handler.max_concurrency is None and handler.rate is None:
            return True
        with self._lock:
            gate = self._gate(handler)
            if not gate.parked and self._open(gate):
                self._enter(gate)
                return True
            gate.parked.append(delivery)
            self._arm(handler, gate)
            return False

    def leave(self, handler: Handler) -> None:
        """Note that an admitted attempt has ended."""
        if handler.max_concurrency is None and handler.rate is None:
            return
        with self._lock:
            self._gate(handler).running -= 1
        self._pump(handler)

    @property
    def waiting(self) -> bool:
        """Whether a delivery is parked."""
        with self._lock:
            return any(gate.parked for gate in self._gates.values())

    @property
    def next_start_s(self) -> float | None:
        """When a rate allows a parked delivery to start, on the monotonic clock; None where none waits for that."""
        with self._lock:
            now_s = self._monotonic()
            waits = [gate.window.wait_s(now_s) for gate in self._gates.values() if gate.parked and gate.window]
            return now_s + min(waits) if waits else None

    def look(self) -> None:
        """Resume what has room by now."""
        with self._lock:
            handlers = [gate.handler for gate in self._gates.values() if gate.parked]
        for handler in handlers:
            self._pump(handler)

    def take(self, queue: str) -> list[Delivery]:
        """Take back what is parked of a queue."""
        taken: list[Delivery] = []
        with self._lock:
            for gate in self._gates.values():
                taken += [delivery for delivery in gate.parked if delivery.queue == queue]
                gate.parked = deque(delivery for delivery in gate.parked if delivery.queue != queue)
        return taken

    def close(self) -> list[Delivery]:
        """Admit nothing more; returns what is parked."""
        with self._lock:
            self._closed = True
            left = [delivery for gate in self._gates.values() for delivery in gate.parked]
            for gate in self._gates.values():
                gate.parked.clear()
                if gate.timer is not None:
                    gate.timer.cancel()
            return left

    def _pump(self, handler: Handler) -> None:
        admitted = []
        with self._lock:
            gate = self._gate(handler)
            while gate.parked and not self._closed and self._open(gate):
                self._enter(gate)
                admitted.append(gate.parked.popleft())
            self._arm(handler, gate)
        for delivery in admitted:
            self._resume(delivery)

    def _arm(self, handler: Handler, gate: _Gate) -> None:
        """Look again when the rate allows the next start; `leave` reports a free place."""
        if gate.timer is not None and gate.timer.is_alive() and gate.timer is not threading.current_thread():
            return
        wait_s = gate.window.wait_s(self._monotonic()) if gate.window else 0.0
        if not gate.parked or wait_s <= 0 or self._closed:
            return
        gate.timer = threading.Timer(wait_s, self._pump, args=(handler,))
        gate.timer.daemon = True
        gate.timer.start()

    def _open(self, gate: _Gate) -> bool:
        room = gate.most is None or gate.running < gate.most
        return room and (gate.window is None or gate.window.wait_s(self._monotonic()) <= 0)

    def _enter(self, gate: _Gate) -> None:
        gate.running += 1
        if gate.window is not None:
            gate.window.start(self._monotonic())

    def _gate(self, handler: Handler) -> _Gate:
        gate = self._gates.get(handler.task_type)
        if gate is None:
            window = RateWindow(parse_rate(handler.rate)) if handler.rate else None
            gate = self._gates[handler.task_type] = _Gate(handler, most=handler.max_concurrency, window=window)
        return gate
