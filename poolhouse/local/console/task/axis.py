"""Spans of time on one axis, in percent of its width. Pure.

A time without work that is far longer than all the work is drawn shorter than it was: else the work would be a hair
line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

#: A wait longer than all the work times this is drawn shorter; how long, as a part of the work.
_LONG, _SHORTENED = 4.0, 0.5
#: The least width of what is drawn, and the least distance of two ticks, in percent.
_HAIR, _APART = 0.6, 14.0
#: Marks on the axis, at the most.
_TICKS = 7
_STEPS_S = (
    *(digit * 10.0**power for power in (-3, -2, -1) for digit in (1, 2, 5)),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 21_600.0, 43_200.0),
    *(86_400.0 * digit for digit in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)


@dataclass(frozen=True)
class Period:
    """A span of time, in seconds since the axis begins."""

    start: float
    end: float
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A bar; start and width in percent of the axis."""

    #: What decides its colour.
    kind: str
    start: float
    width: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on the axis."""

    x: float
    text: str


class Scale:
    """Seconds since the axis begins as percent of it."""

    def __init__(self, work: Sequence[Period], waits: Sequence[Period]) -> None:
        bounds = sorted({0.0, *(at for period in (*work, *waits) for at in (period.start, period.end))})
        busy = {
            (start, end): any(period.start <= start and end <= period.end for period in work)
            for start, end in pairwise(bounds)
        }
        worked = sum(end - start for (start, end), at_work in busy.items() if at_work)
        self.shortened = False
        self._points = [(0.0, 0.0)]
        #: Where work begins or ends.
        self._marks: list[float] = [0.0]
        drawn = 0.0
        before = False
        for (start, end), at_work in busy.items():
            length = end - start
            if not at_work and worked and length > _LONG * worked:
                length, self.shortened = _SHORTENED * worked, True
            if at_work != before:
                self._marks.append(start)
                before = at_work
            drawn += length
            self._points.append((end, drawn))
        self._marks.append(bounds[-1])
        self._length = drawn or 1.0

    def at(self, seconds: float) -> float:
        """Where a time is."""
        for (start, left), (end, right) in pairwise(self._points):
            if seconds <= end:
                part = (seconds - start) / (end - start) if end > start else 0.0
                return 100 * (left + part * (right - left)) / self._length
        return 100.0

    def bar(self, period: Period, text: str, *, kind: str = "") -> Bar:
        """The bar of a span of time."""
        start = min(self.at(period.start), 100 - _HAIR)
        width = max(self.at(period.end) - start, _HAIR)
        return Bar(kind=kind or period.kind, start=round(start, 2), width=round(width, 2), text=text)

    def ticks(self) -> tuple[Tick, ...]:
        """Marks: at equal distances, or where work begins and ends if a wait is drawn shorter."""
        total = self._points[-1][0]
        if self.shortened:
            times = self._marks
        else:
            step = next((step for step in _STEPS_S if total / step < _TICKS), _STEPS_S[-1])
            times = [step * number for number in range(min(int(total / step), _TICKS) + 1)]
        found: list[Tick] = []
        for seconds in times:
            x = self.at(seconds)
            if not found or (x - found[-1].x >= _APART and x <= 100 - _APART / 2):
                found.append(Tick(x=round(x, 2), text=elapsed(seconds) if seconds else "0"))
        return tuple(found)


def elapsed(seconds: float) -> str:
    """How long, without zeros that say nothing: `20 ms`, `1.5 s`, `2 min`."""
    if 0 < seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    for limit, unit, name in ((1.0, 0.001, "ms"), (90.0, 1.0, "s"), (5400.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86_400:.3g} d"
