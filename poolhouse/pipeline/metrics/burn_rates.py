"""Alerts on objectives: an error budget that is used up too fast, seen over a long window and still over a short one.

Source: The Site Reliability Workbook, "Alerting on SLOs", multiwindow, multi-burn-rate alerts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.metrics.definitions import ATTEMPT, WAIT
from poolhouse.pipeline.metrics.panels import BAD_ENDS, ENDS
from poolhouse.pipeline.metrics.promql import Names, bound

#: Tasks that the long window must have: of three tasks, one that fails says nothing about a rate.
LEAST_TASKS = 10


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a budget is used up, as a multiple of the pace that would just use it up in its period."""

    name: Literal["fast", "slow"]
    factor: float
    long: str
    short: str


#: At 14.4 a month's budget lasts two days, at 6 it lasts five.
PACES = (
    Pace(name="fast", factor=14.4, long="1h", short="5m"),
    Pace(name="slow", factor=6, long="6h", short="30m"),
)


@dataclass(frozen=True, kw_only=True)
class BurnRate:
    """One alert: it holds for each queue for which its expression has a value."""

    objective: Literal["success", "wait"]
    pace: Pace
    title: str
    query: str
    advice: str


def burn_rates(queues: Iterable[Queue], names: Names) -> tuple[BurnRate, ...]:
    """Return the alerts of the queues' objectives."""
    queues = tuple(queues)
    return tuple(rate for pace in PACES for rate in (_success(queues, pace, names), _wait(queues, pace, names)))


def _success(queues: Iterable[Queue], pace: Pace, names: Names) -> BurnRate:
    groups: defaultdict[float, list[str]] = defaultdict(list)
    for queue in queues:
        groups[queue.slo.success].append(queue.name)

    def clauses() -> Iterator[str]:
        for objective, members in groups.items():
            these = "|".join(members)

            def bad(window: str, these: str = these) -> str:
                failed = names.series(ATTEMPT, "count", queue=these, outcome=BAD_ENDS)
                ended = names.series(ATTEMPT, "count", queue=these, outcome=ENDS)
                return f"{_sum(names, failed, window)} / {_sum(names, ended, window)}"

            enough = _sum(names, names.series(ATTEMPT, "count", queue=these, outcome=ENDS), pace.long)
            yield _clause(bad, objective, pace, enough)

    return BurnRate(
        objective="success",
        pace=pace,
        title=f"Too many tasks fail ({pace.name} burn)",
        query=" or ".join(clauses()),
        advice="The queue's objective (`[queues.NAME.slo]`, `success`) will be missed if this goes on: "
        "`invoke dlq list` shows what failed and why.",
    )


def _wait(queues: Iterable[Queue], pace: Pace, names: Names) -> BurnRate:
    groups: defaultdict[tuple[float, float], list[str]] = defaultdict(list)
    for queue in queues:
        groups[queue.slo.wait, queue.slo.wait_s].append(queue.name)

    def clauses() -> Iterator[str]:
        for (objective, wait_s), members in groups.items():
            these = "|".join(members)

            def bad(window: str, these: str = these, wait_s: float = wait_s) -> str:
                in_time = names.series(WAIT, "bucket", queue=these, le=bound(wait_s))
                started = names.series(WAIT, "count", queue=these)
                return f"1 - {_sum(names, in_time, window)} / {_sum(names, started, window)}"

            yield _clause(bad, objective, pace, _sum(names, names.series(WAIT, "count", queue=these), pace.long))

    return BurnRate(
        objective="wait",
        pace=pace,
        title=f"Too many tasks start late ({pace.name} burn)",
        query=" or ".join(clauses()),
        advice="The queue's objective (`[queues.NAME.slo]`, `wait` and `wait_s`) will be missed if this goes on: "
        "more or larger workers (`[queues.NAME.workers]`), or a handler that hangs (`invoke top`).",
    )


def _clause(bad: Callable[[str], str], objective: float, pace: Pace, enough: str) -> str:
    limit = f"{pace.factor * (1 - objective):.6g}"
    windows = " and ".join(f"({bad(window)} > {limit})" for window in (pace.long, pace.short))
    return f"({windows} and ({enough} >= {LEAST_TASKS}))"


def _sum(names: Names, selector: str, window: str) -> str:
    return f"sum by ({names.by('queue')}) (increase({selector}[{window}]))"
