"""The charts of a dashboard, for every system that they are drawn by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from poolhouse.pipeline.metrics.definitions import (
    ATTEMPT,
    BUSY_SLOTS,
    ENDED,
    HOOKS_FAILED,
    QUEUE_TASKS,
    RENEWALS,
    RUNNING,
    SLOTS,
    STORAGE_CALL,
    SUBMITTED,
    WAIT,
    Metric,
)
from poolhouse.pipeline.metrics.promql import Names

#: Outcomes of the attempts that end a task, those of cancelled ones left out: nothing was promised for them.
ENDS, BAD_ENDS = "succeeded|failed|dead", "failed|dead"
Unit = Literal["seconds", "per second", "part", "count"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart."""

    title: str
    unit: Unit
    metrics: tuple[Metric, ...]
    #: The labels that its lines differ by.
    labels: tuple[str, ...]
    query: Callable[[Names], str]


def _rate(metric: Metric, *labels: str, **matchers: str) -> Callable[[Names], str]:
    def query(names: Names) -> str:
        selector = names.series(metric, "count" if metric.kind == "histogram" else "", **matchers)
        return f"sum by ({names.by(*labels)}) (rate({selector}[{names.window}]))"

    return query


def _percentile(metric: Metric, *labels: str) -> Callable[[Names], str]:
    def query(names: Names) -> str:
        rates = f"rate({names.series(metric, 'bucket')}[{names.window}])"
        return f"histogram_quantile(0.95, sum by ({names.by(*labels, 'le')}) ({rates}))"

    return query


def _level(metric: Metric, *labels: str, **matchers: str) -> Callable[[Names], str]:
    """What each process reports of the whole deployment is not added up."""
    function = "max" if metric.shared else "sum"
    return lambda names: f"{function} by ({names.by(*labels)}) ({names.series(metric, '', **matchers)})"


def _part(above: Callable[[Names], str], below: Callable[[Names], str]) -> Callable[[Names], str]:
    return lambda names: f"{above(names)} / {below(names)}"


def _panels() -> Iterator[Panel]:
    yield Panel(
        title="Tasks submitted", unit="per second", metrics=(SUBMITTED,), labels=("task_type",),
        query=_rate(SUBMITTED, "task_type"),
    )  # fmt: skip
    yield Panel(
        title="Tasks ended, by outcome", unit="per second", metrics=(ENDED,), labels=("outcome",),
        query=_rate(ENDED, "outcome"),
    )  # fmt: skip
    yield Panel(
        title="Success rate", unit="part", metrics=(ATTEMPT,), labels=("queue",),
        query=_part(_rate(ATTEMPT, "queue", outcome="succeeded"), _rate(ATTEMPT, "queue", outcome=ENDS)),
    )  # fmt: skip
    yield Panel(
        title="Attempts, by outcome", unit="per second", metrics=(ATTEMPT,), labels=("outcome",),
        query=_rate(ATTEMPT, "outcome"),
    )  # fmt: skip
    yield Panel(
        title="Wait for the first attempt, 95th percentile", unit="seconds", metrics=(WAIT,), labels=("queue",),
        query=_percentile(WAIT, "queue"),
    )  # fmt: skip
    yield Panel(
        title="Run time, 95th percentile", unit="seconds", metrics=(ATTEMPT,), labels=("task_type",),
        query=_percentile(ATTEMPT, "task_type"),
    )  # fmt: skip
    yield Panel(
        title="Unfinished tasks", unit="count", metrics=(QUEUE_TASKS,), labels=("queue", "state"),
        query=_level(QUEUE_TASKS, "queue", "state", state="waiting|running|delayed"),
    )  # fmt: skip
    yield Panel(
        title="Dead letters", unit="count", metrics=(QUEUE_TASKS,), labels=("queue",),
        query=_level(QUEUE_TASKS, "queue", state="dead"),
    )  # fmt: skip
    yield Panel(
        title="Slots in use", unit="part", metrics=(BUSY_SLOTS, SLOTS), labels=("queue",),
        query=_part(_level(BUSY_SLOTS, "queue"), _level(SLOTS, "queue")),
    )  # fmt: skip
    yield Panel(
        title="Attempts in hand", unit="count", metrics=(RUNNING,), labels=("task_type",),
        query=_level(RUNNING, "task_type"),
    )  # fmt: skip
    yield Panel(
        title="Lease renewals", unit="per second", metrics=(RENEWALS,), labels=("outcome",),
        query=_rate(RENEWALS, "outcome"),
    )  # fmt: skip
    yield Panel(
        title="Storage calls", unit="per second", metrics=(STORAGE_CALL,), labels=("operation", "outcome"),
        query=_rate(STORAGE_CALL, "operation", "outcome"),
    )  # fmt: skip
    yield Panel(
        title="Storage calls, 95th percentile", unit="seconds", metrics=(STORAGE_CALL,), labels=("operation",),
        query=_percentile(STORAGE_CALL, "operation"),
    )  # fmt: skip
    yield Panel(
        title="Failed hooks", unit="per second", metrics=(HOOKS_FAILED,), labels=("hook",),
        query=_rate(HOOKS_FAILED, "hook"),
    )  # fmt: skip


#: All of them, in the order in which they are shown.
PANELS = tuple(_panels())
#: Those that need no exporter: Google Cloud makes their metrics out of log lines.
LOGGED = tuple(panel for panel in PANELS if all(metric.log is not None for metric in panel.metrics))
