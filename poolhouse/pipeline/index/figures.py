"""Figures of queues and task types over the last while, from the index: complete whether or not a page was open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from poolhouse.pipeline.index.database import Database
from poolhouse.pipeline.index.entry import micros
from poolhouse.pipeline.tasks.records import Status

#: Steps that a window is divided into: the bars of a chart.
STEPS = 60
#: Ends, the newest ones, that times are taken from.
MOST_ENDS = 20_000
_FAILED = frozenset({Status.FAILED, Status.DEAD})


@dataclass(frozen=True, kw_only=True)
class Times:
    """Waits or run times, in seconds."""

    p50_s: float
    p95_s: float


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What ended in the window."""

    ended: int
    #: Of those, the ones that are failed or dead.
    failed: int
    #: From the submit, or the time that it was due, to the first attempt; None where nothing was started.
    wait: Times | None
    #: Of the last attempt.
    run: Times | None


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """One queue."""

    waiting: int
    running: int
    delayed: int
    #: Tasks submitted, ended and failed in each step, the oldest first.
    submitted: Sequence[int]
    ended: Sequence[int]
    failed: Sequence[int]
    ends: Ends


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All queues that are asked for, and all task types of which something ended."""

    since: datetime
    step_s: float
    queues: Mapping[str, QueueFigures]
    task_types: Mapping[str, Ends]


def figures(database: Database, queues: Iterable[str], *, now: datetime, window: timedelta) -> Figures:
    """Return the figures of a window that ends now."""
    since = now - window
    start, step = micros(since), int(window.total_seconds() * 1e6) // STEPS
    counts = unfinished(database)
    submitted = _series(
        database.rows(
            "SELECT queue, (submitted - ?) / ?, count(*), 0 FROM tasks WHERE submitted >= ? GROUP BY 1, 2",
            (start, step, start),
        )
    )
    ended = _series(
        database.rows(
            "SELECT queue, (ended - ?) / ?, count(*), sum(status IN ('failed', 'dead')) FROM tasks"
            " WHERE ended >= ? GROUP BY 1, 2",
            (start, step, start),
        )
    )
    by_queue, by_type = _ends(database, start)
    nothing = _Ends()
    return Figures(
        since=since,
        step_s=step / 1e6,
        queues={
            queue: QueueFigures(
                waiting=counts.get((queue, Status.QUEUED), 0),
                running=counts.get((queue, Status.RUNNING), 0),
                delayed=counts.get((queue, Status.SCHEDULED), 0),
                submitted=submitted[queue].all,
                ended=ended[queue].all,
                failed=ended[queue].failed,
                ends=by_queue.get(queue, nothing).result(),
            )
            for queue in queues
        },
        task_types={task_type: ends.result() for task_type, ends in sorted(by_type.items())},
    )


def unfinished(database: Database) -> Mapping[tuple[str, str], int]:
    """Return how many tasks have not ended, by queue and status."""
    return {
        (queue, status): number
        for queue, status, number in database.rows(
            "SELECT queue, status, count(*) FROM tasks WHERE ended IS NULL GROUP BY queue, status"
        )
    }


class _Steps:
    def __init__(self) -> None:
        self.all = [0] * STEPS
        self.failed = [0] * STEPS


def _series(rows: Iterable[tuple[str, int, int, int]]) -> defaultdict[str, _Steps]:
    found: defaultdict[str, _Steps] = defaultdict(_Steps)
    for queue, step, count, failed in rows:
        at = min(step, STEPS - 1)
        found[queue].all[at] += count
        found[queue].failed[at] += failed
    return found


class _Ends:
    def __init__(self) -> None:
        self._statuses: list[str] = []
        self._waits: list[int] = []
        self._runs: list[int] = []

    def add(self, status: str, *, wait: int | None, run: int | None) -> None:
        self._statuses.append(status)
        if wait is not None:
            self._waits.append(max(0, wait))
        if run is not None:
            self._runs.append(max(0, run))

    def result(self) -> Ends:
        return Ends(
            ended=len(self._statuses),
            failed=sum(status in _FAILED for status in self._statuses),
            wait=_times(self._waits),
            run=_times(self._runs),
        )


def _ends(database: Database, start: int) -> tuple[Mapping[str, _Ends], Mapping[str, _Ends]]:
    by_queue: defaultdict[str, _Ends] = defaultdict(_Ends)
    by_type: defaultdict[str, _Ends] = defaultdict(_Ends)
    rows = database.rows(
        "SELECT queue, task_type, status, submitted, due, started, last_started, ended FROM tasks"
        " WHERE ended >= ? ORDER BY ended DESC LIMIT ?",
        (start, MOST_ENDS),
    )
    for queue, task_type, status, submitted, due, started, last_started, ended in rows:
        wait = None if started is None else started - max(submitted, due or 0)
        run = None if last_started is None else ended - last_started
        for ends in (by_queue[queue], by_type[task_type]):
            ends.add(status, wait=wait, run=run)
    return by_queue, by_type


def _times(micros: list[int]) -> Times | None:
    if not micros:
        return None
    ordered = sorted(micros)
    return Times(
        p50_s=ordered[len(ordered) // 2] / 1e6, p95_s=ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)] / 1e6
    )
