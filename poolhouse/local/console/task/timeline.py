"""A task's waits, attempts and steps on one axis of time. Pure.

A wait that is far longer than all the work is drawn shorter than it was: else the work would be a hair line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from poolhouse.client import units
from poolhouse.client.answers import Document

#: Attempts and steps drawn at the most; of more attempts the first and the last ones.
MOST_ATTEMPTS, FIRST_ATTEMPTS, MOST_STEPS = 20, 3, 40
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


@dataclass(frozen=True, kw_only=True)
class Span:
    """A bar; start and width in percent of the axis."""

    #: `waiting`, `delayed`, `dead`, `step`, or the outcome of an attempt.
    kind: str
    start: float
    width: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """An attempt with the wait before it, a wait that goes on, or a step."""

    name: str
    spans: tuple[Span, ...]
    #: How long the attempt or step took; empty for a wait.
    took: str = ""
    #: How long the wait took; empty where there was none.
    waited: str = ""
    step: bool = False


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on the axis."""

    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What the page draws."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    #: Attempts and steps that are left out.
    hidden: int
    #: Whether a wait is drawn shorter than it was.
    shortened: bool


@dataclass(frozen=True)
class _Period:
    """A span of time, in seconds since the submit."""

    start: float
    end: float
    kind: str = ""


def of(task: Document, *, now: datetime) -> Timeline:
    """Lay out a task.

    Args:
        task: its record as the API has it; or only its id, status and submit time.
        now: where a task that has not ended is now.
    """
    submitted = units.moment(task["submitted_at"]) or now
    clock = _Clock(submitted)
    attempts = [
        (attempt, _Period(clock.read(attempt["started_at"]), clock.read(attempt.get("ended_at"), now)))
        for attempt in task.get("attempts", ())
    ]
    steps = [
        (step, _Period(clock.read(step["started_at"]), clock.read(step["ended_at"]))) for step in task.get("steps", ())
    ]
    waits = list(_waits(task, [period for _, period in attempts], clock, now))
    scale = _Scale([period for _, period in (*attempts, *steps)], [part for wait in waits for part in wait])
    rows = [
        Row(
            name=f"Attempt {attempt['number']}",
            spans=(
                *(scale.span(part, _told(part)) for part in wait),
                scale.span(period, f"{attempt['outcome']}, {_took(period)}", kind=attempt["outcome"]),
            ),
            took=_took(period),
            waited=_took(_Period(wait[0].start, wait[-1].end)) if wait else "",
        )
        for (attempt, period), wait in zip(attempts, waits, strict=False)
    ]
    hidden = max(0, len(rows) - MOST_ATTEMPTS)
    if hidden:
        rows = rows[:FIRST_ATTEMPTS] + rows[FIRST_ATTEMPTS - MOST_ATTEMPTS :]
    if len(waits) > len(attempts) and (last := waits[-1]):
        rows.append(
            Row(
                name="Waits",
                spans=tuple(scale.span(part, _told(part)) for part in last),
                waited=_took(_Period(last[0].start, last[-1].end)),
            )
        )
    rows += [
        Row(name=step["name"], spans=(scale.span(period, _took(period), kind="step"),), took=_took(period), step=True)
        for step, period in steps[:MOST_STEPS]
    ]
    hidden += max(0, len(steps) - MOST_STEPS)
    return Timeline(rows=tuple(rows), ticks=scale.ticks(), hidden=hidden, shortened=scale.shortened)


class _Clock:
    def __init__(self, submitted: datetime) -> None:
        self._submitted = submitted

    def read(self, text: str | None, otherwise: datetime | None = None) -> float:
        """A time of the API's in seconds since the submit."""
        at = units.moment(text) or otherwise or self._submitted
        return max(0.0, (at - self._submitted).total_seconds())


def _waits(task: Document, attempts: Sequence[_Period], clock: _Clock, now: datetime) -> Iterator[list[_Period]]:
    """The wait before each attempt, and the one that goes on; each in its parts, none where there was none."""
    end = 0.0
    for attempt in attempts:
        yield list(_parts(task, _Period(end, attempt.start), clock))
        end = max(end, attempt.end)
    if task["status"] in {"queued", "scheduled"}:
        yield list(_parts(task, _Period(end, clock.read(None, now)), clock))
    elif not attempts and task.get("updated_at"):  # cancelled before it began
        yield list(_parts(task, _Period(end, clock.read(task["updated_at"])), clock))


def _parts(task: Document, wait: _Period, clock: _Clock) -> Iterator[_Period]:
    """What a wait was for: as a dead letter until it was replayed, for its time, for a worker."""
    start = wait.start
    until = [(clock.read(at), "dead") for at in task.get("replayed_at", ())]
    if task.get("not_before"):
        until.append((clock.read(task["not_before"]), "delayed"))
    for at, kind in sorted(until):
        end = min(at, wait.end)
        if end > start and (at <= wait.end or kind == "delayed"):
            yield _Period(start, end, kind)
            start = end
    if wait.end > start:
        yield _Period(start, wait.end, "waiting")


class _Scale:
    """Seconds since the submit as percent of the axis."""

    def __init__(self, work: Sequence[_Period], waits: Sequence[_Period]) -> None:
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

    def span(self, period: _Period, text: str, *, kind: str = "") -> Span:
        """The bar of a span of time."""
        start = min(self.at(period.start), 100 - _HAIR)
        width = max(self.at(period.end) - start, _HAIR)
        return Span(kind=kind or period.kind, start=round(start, 2), width=round(width, 2), text=text)

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
    for limit, unit, name in ((1.0, 0.001, "ms"), (90.0, 1.0, "s"), (5400.0, 60.0, "min"), (172_800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86_400:.3g} d"


def _took(period: _Period) -> str:
    return elapsed(max(0.0, period.end - period.start))


def _told(wait: _Period) -> str:
    reason = {"dead": "a dead letter until it was replayed", "delayed": "until its time"}
    return f"waited {_took(wait)}: {reason.get(wait.kind, 'for a worker')}"
