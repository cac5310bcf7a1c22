"""A task's waits, attempts and steps on one axis of time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.local.console.task.axis import Bar, Period, Scale, Tick, elapsed

#: Attempts and steps drawn at the most; of more attempts the first and the last ones.
MOST_ATTEMPTS, FIRST_ATTEMPTS, MOST_STEPS = 20, 3, 40


@dataclass(frozen=True, kw_only=True)
class Row:
    """An attempt with the wait before it, a wait that goes on, or a step."""

    name: str
    spans: tuple[Bar, ...]
    #: How long the attempt or step took; empty for a wait.
    took: str = ""
    #: How long the wait took; empty where there was none.
    waited: str = ""
    step: bool = False


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What the page draws."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    #: Attempts and steps that are left out.
    hidden: int
    #: Whether a wait is drawn shorter than it was.
    shortened: bool


def of(task: Document, *, now: datetime) -> Timeline:
    """Lay out a task.

    Args:
        task: its record as the API has it; or only its id, status and submit time.
        now: where a task that has not ended is now.
    """
    submitted = units.moment(task["submitted_at"]) or now
    clock = _Clock(submitted)
    attempts = [
        (attempt, Period(clock.read(attempt["started_at"]), clock.read(attempt.get("ended_at"), now)))
        for attempt in task.get("attempts", ())
    ]
    steps = [
        (step, Period(clock.read(step["started_at"]), clock.read(step["ended_at"]))) for step in task.get("steps", ())
    ]
    waits = list(_waits(task, [period for _, period in attempts], clock, now))
    scale = Scale([period for _, period in (*attempts, *steps)], [part for wait in waits for part in wait])
    rows = [
        Row(
            name=f"Attempt {attempt['number']}",
            spans=(
                *(scale.bar(part, _told(part)) for part in wait),
                scale.bar(period, f"{attempt['outcome']}, {_took(period)}", kind=attempt["outcome"]),
            ),
            took=_took(period),
            waited=_took(Period(wait[0].start, wait[-1].end)) if wait else "",
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
                spans=tuple(scale.bar(part, _told(part)) for part in last),
                waited=_took(Period(last[0].start, last[-1].end)),
            )
        )
    rows += [
        Row(name=step["name"], spans=(scale.bar(period, _took(period), kind="step"),), took=_took(period), step=True)
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


def _waits(task: Document, attempts: Sequence[Period], clock: _Clock, now: datetime) -> Iterator[list[Period]]:
    """The wait before each attempt, and the one that goes on; each in its parts, none where there was none."""
    end = 0.0
    for attempt in attempts:
        yield list(_parts(task, Period(end, attempt.start), clock))
        end = max(end, attempt.end)
    if task["status"] in {"queued", "scheduled"}:
        yield list(_parts(task, Period(end, clock.read(None, now)), clock))
    elif not attempts and task.get("updated_at"):  # cancelled before it began
        yield list(_parts(task, Period(end, clock.read(task["updated_at"])), clock))


def _parts(task: Document, wait: Period, clock: _Clock) -> Iterator[Period]:
    """What a wait was for: as a dead letter until it was replayed, for its time, for a worker."""
    start = wait.start
    until = [(clock.read(at), "dead") for at in task.get("replayed_at", ())]
    if task.get("not_before"):
        until.append((clock.read(task["not_before"]), "delayed"))
    for at, kind in sorted(until):
        end = min(at, wait.end)
        if end > start and (at <= wait.end or kind == "delayed"):
            yield Period(start, end, kind)
            start = end
    if wait.end > start:
        yield Period(start, wait.end, "waiting")


def _took(period: Period) -> str:
    return elapsed(max(0.0, period.end - period.start))


def _told(wait: Period) -> str:
    reason = {"dead": "a dead letter until it was replayed", "delayed": "until its time"}
    return f"waited {_took(wait)}: {reason.get(wait.kind, 'for a worker')}"
