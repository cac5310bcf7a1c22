"""Every metric, once: instruments, Prometheus names, dashboards, alerts and docs/metrics.md are made from these.

Names and units are OpenTelemetry's (Semantic conventions, Metrics). No label has a task's id, a tenant or anything else
that clients choose: the number of series depends on the code and on pipeline.toml alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: In the place of a task type or queue that this process does not know: messages can be published by hand.
OTHER = "_OTHER"
#: Bounds of the buckets of waits and run times, in seconds.
TASK_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14_400.0)
#: The same for storage calls, which end within seconds.
CALL_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of the log that carries the same figure: Google Cloud makes the metric out of it, without an exporter."""

    #: The line's message.
    message: str
    #: The field with the value. The labels are fields of their own names.
    value: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric."""

    name: str
    #: A counter goes up; a gauge is a level that this process keeps or looks up; a histogram has buckets.
    kind: Literal["counter", "gauge", "histogram"]
    #: `s`, or what is counted, in braces (UCUM).
    unit: str
    help: str
    labels: tuple[str, ...]
    #: The processes that report it.
    parts: tuple[Literal["api", "worker", "scheduler"], ...]
    #: Of a histogram: the upper bounds of its buckets.
    bounds: tuple[float, ...] = ()
    #: Whether each process reports the figure of the whole deployment: charts show the highest, not the sum.
    shared: bool = False
    log: LogLine | None = None

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus, without `_bucket`, `_sum` and `_count` (OpenTelemetry, Prometheus compatibility)."""
        unit = "_seconds" if self.unit == "s" else ""
        return f"{self.name.replace('.', '_')}{unit}{'_total' if self.kind == 'counter' else ''}"


SUBMITTED = Metric(
    name="poolhouse.tasks.submitted",
    kind="counter",
    unit="{task}",
    help="Tasks given to their queue.",
    labels=("task_type", "queue"),
    parts=("api", "worker", "scheduler"),
)
WAIT = Metric(
    name="poolhouse.task.wait",
    kind="histogram",
    unit="s",
    help="From the submit, or the time that the task was due, to its first attempt.",
    labels=("task_type", "queue"),
    parts=("worker",),
    bounds=TASK_BOUNDS_S,
    log=LogLine(message="task started", value="waited_s"),
)
ENDED = Metric(
    name="poolhouse.tasks.ended",
    kind="counter",
    unit="{task}",
    help="Tasks that ended, by outcome: succeeded, dead (a dead letter) or cancelled.",
    labels=("task_type", "queue", "outcome"),
    parts=("api", "worker"),
)
ATTEMPT = Metric(
    name="poolhouse.attempt.duration",
    kind="histogram",
    unit="s",
    help="Run time of attempts, by outcome: succeeded, retried, failed, dead, cancelled, stopped or lost.",
    labels=("task_type", "queue", "outcome"),
    parts=("worker",),
    bounds=TASK_BOUNDS_S,
    log=LogLine(message="task ended", value="duration_s"),
)
RUNNING = Metric(
    name="poolhouse.attempts.running",
    kind="gauge",
    unit="{attempt}",
    help="Attempts in hand.",
    labels=("task_type", "queue"),
    parts=("worker",),
)
QUEUE_TASKS = Metric(
    name="poolhouse.queue.tasks",
    kind="gauge",
    unit="{task}",
    help="Unfinished tasks and dead letters, by state: waiting, running, delayed or dead.",
    labels=("queue", "state"),
    parts=("api",),
    shared=True,
)
SLOTS = Metric(
    name="poolhouse.worker.slots",
    kind="gauge",
    unit="{slot}",
    help="Tasks of a queue that the worker can run at the same time.",
    labels=("queue",),
    parts=("worker",),
)
BUSY_SLOTS = Metric(
    name="poolhouse.worker.slots.busy",
    kind="gauge",
    unit="{slot}",
    help="Of those, the slots in use.",
    labels=("queue",),
    parts=("worker",),
)
RENEWALS = Metric(
    name="poolhouse.lease.renewals",
    kind="counter",
    unit="{renewal}",
    help="Leases written to the records of running tasks, by outcome: renewed, lost (another worker has the task) or "
    "failed (storage did not answer).",
    labels=("queue", "outcome"),
    parts=("worker",),
)
STORAGE_CALL = Metric(
    name="poolhouse.storage.call.duration",
    kind="histogram",
    unit="s",
    help="Storage calls, by outcome: ok, not_found, conflict (another process wrote first) or error.",
    labels=("operation", "outcome"),
    parts=("api", "worker", "scheduler"),
    bounds=CALL_BOUNDS_S,
)
HOOKS_FAILED = Metric(
    name="poolhouse.hooks.failed",
    kind="counter",
    unit="{call}",
    help="Calls of hooks that raised.",
    labels=("hook",),
    parts=("api", "worker", "scheduler"),
)

#: All of them, in the order in which they are documented.
CATALOGUE = (
    *(SUBMITTED, WAIT, ENDED, ATTEMPT, RUNNING, QUEUE_TASKS, SLOTS, BUSY_SLOTS, RENEWALS, STORAGE_CALL, HOOKS_FAILED),
)
