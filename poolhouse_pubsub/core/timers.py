"""Timers in a heap, run up to a given moment."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

#: A due time that never comes.
NEVER = math.inf

#: Places in the heap that it is not tidied below.
_TIDY_AT = 1_000


class Timer:
    """One thing with one next due time (seconds since the epoch), moved as often as needed."""

    __slots__ = ("_fire", "_queue", "due")

    def __init__(self, timers: TimerQueue, fire: Callable[[float], None]) -> None:
        self._queue = timers
        self._fire = fire
        self.due = NEVER

    def set(self, due: float) -> None:
        """Make the timer fire at `due` and at no other time; `NEVER` stops it."""
        if due != self.due:
            self.due = due
            if due != NEVER:
                self._queue._push(self)

    def at_most(self, due: float) -> None:
        """Make the timer fire at `due` unless it fires earlier anyway."""
        if due < self.due:
            self.set(due)

    def cancel(self) -> None:
        """Stop the timer."""
        self.due = NEVER

    def fire(self, now: float) -> None:
        """Run the timer's callback."""
        self._fire(now)


class TimerQueue:
    """Timers in order of their due time; equal times fire in the order they were set.

    Args:
        on_earlier: Called when the earliest due time has become earlier, so that a real clock can be armed for it.
    """

    def __init__(self, *, on_earlier: Callable[[float], None] | None = None) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self.on_earlier = on_earlier
        self._tidy_at = _TIDY_AT

    def timer(self, fire: Callable[[float], None]) -> Timer:
        """Return a new timer, not set; `fire` is called with the time that was due."""
        return Timer(self, fire)

    def _push(self, timer: Timer) -> None:
        earlier = not self._heap or timer.due < self._heap[0][0]
        heapq.heappush(self._heap, (timer.due, next(self._numbers), timer))
        if len(self._heap) > self._tidy_at:
            # Timers that were moved leave their old places behind; far ones would stay there for weeks.
            self._heap = [place for place in self._heap if place[2].due == place[0]]
            heapq.heapify(self._heap)
            self._tidy_at = _TIDY_AT + 2 * len(self._heap)
        if earlier and self.on_earlier is not None:
            self.on_earlier(timer.due)

    @property
    def next_due(self) -> float:
        """The earliest due time, `NEVER` when nothing is set."""
        heap = self._heap
        while heap and heap[0][2].due != heap[0][0]:
            heapq.heappop(heap)  # moved or stopped since
        return heap[0][0] if heap else NEVER

    def pop_due(self, until: float) -> Timer | None:
        """Take the earliest timer that is due at or before `until`; its `due` is NEVER from here on."""
        due = self.next_due
        if due > until:
            return None
        timer = heapq.heappop(self._heap)[2]
        timer.due = NEVER
        return timer
