"""How many messages each queue finishes in a second, from the emulator's own counts: measured while a page is open."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

#: How far back is shown, in seconds.
WINDOW_S = 120.0
#: Counts that lie closer together, in seconds, give no rate worth showing.
_LEAST_GAP_S = 0.9


@dataclass(frozen=True)
class Counts:
    """Messages finished since the emulator's start, by subscription, at a time."""

    at_s: float
    finished: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A rate between two looks, placed in a chart of width 100 and height 100."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The rates of one subscription over the window."""

    #: Messages a second, between the last two looks.
    now: float
    #: The highest of them.
    peak: float
    bars: tuple[Bar, ...]


class Throughput:
    """The counts of the last while. Threads may share it."""

    def __init__(self) -> None:
        self._counts: deque[Counts] = deque()
        self._lock = threading.Lock()

    def add(self, counts: Counts) -> None:
        """Take counts of now; those of another stack, or of one that was emptied, begin anew."""
        with self._lock:
            last = self._counts[-1] if self._counts else None
            if last is not None and _not_the_same(last, counts):
                self._counts.clear()
            elif last is not None and counts.at_s - last.at_s < _LEAST_GAP_S:
                return
            self._counts.append(counts)
            # One from before the window stays, for the rate of the time until the next.
            while len(self._counts) > 2 and self._counts[1].at_s < counts.at_s - WINDOW_S:
                self._counts.popleft()

    def rates(self, subscription: str) -> Rates | None:
        """The rates of a subscription; None before a second look."""
        with self._lock:
            counts = list(self._counts)
        if len(counts) < 2:
            return None
        end_s = counts[-1].at_s
        spans = [
            (
                max(0.0, WINDOW_S - (end_s - before.at_s)),
                WINDOW_S - (end_s - after.at_s),
                (after.finished.get(subscription, 0) - before.finished.get(subscription, 0))
                / (after.at_s - before.at_s),
            )
            for before, after in pairwise(counts)
        ]
        peak = max(rate for _, _, rate in spans)
        bars = tuple(
            Bar(
                x=100 * begin_s / WINDOW_S,
                y=100 - 100 * rate / peak,
                width=100 * (until_s - begin_s) / WINDOW_S,
                height=100 * rate / peak,
            )
            for begin_s, until_s, rate in spans
            if rate > 0
        )
        return Rates(now=spans[-1][2], peak=peak, bars=bars)


def _not_the_same(last: Counts, counts: Counts) -> bool:
    """Whether a count fell or is gone, which it never does in one stack."""
    return any(counts.finished.get(name, -1) < number for name, number in last.finished.items())
