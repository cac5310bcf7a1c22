"""Messages a second, from counts that only grow; measured while somebody looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: Rates are of this long a time, in seconds.
WINDOW_S = 10.0
#: Counts closer together than this, in seconds, give no rate worth showing.
_LEAST_GAP_S = 0.9
#: Most counters that are followed; those looked at longest ago are forgotten.
_MOST = 2_000


class Rates:
    """The latest counts by name.

    Args:
        monotonic: Gives the time, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._counts: dict[str, deque[tuple[float, int]]] = {}

    def of(self, name: str, count: int) -> float | None:
        """Note a count and return its rate; None before there is one."""
        now = self._monotonic()
        counts = self._counts.pop(name, None) or deque()
        self._counts[name] = counts
        if len(self._counts) > _MOST:
            del self._counts[next(iter(self._counts))]
        if counts and (count < counts[-1][1] or now - counts[-1][0] > 2 * WINDOW_S):
            counts.clear()  # the emulator was emptied, or nobody has looked for long
        if not counts or now - counts[-1][0] >= _LEAST_GAP_S:
            counts.append((now, count))
        while len(counts) > 2 and counts[1][0] <= now - WINDOW_S:
            counts.popleft()
        began, first = counts[0]
        return (count - first) / (now - began) if now - began >= _LEAST_GAP_S else None
