"""The instruments of `poolhouse.pipeline.metrics.definitions`, and the hook that counts tasks with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation

from poolhouse.pipeline.hooks import AttemptEnd, AttemptInfo, Hook, TaskInfo, failures
from poolhouse.pipeline.metrics import definitions
from poolhouse.pipeline.metrics.definitions import OTHER, Metric
from poolhouse.pipeline.metrics.process_metrics import LeaseOutcome, Observed


class Metrics(Hook):
    """Counts what is submitted, what runs, and how it ends."""

    def __init__(
        self,
        meter: Meter,
        *,
        task_types: Collection[str],
        queues: Collection[str],
        start: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the instruments.

        Args:
            meter: of a provider.
            task_types: the values of the label; any other task type is counted as `_OTHER`.
            queues: the same for queues.
            start: begins to serve or send.
            close: sends what is kept back, and ends that.
        """
        self._meter = meter
        self._task_types, self._queues = frozenset(task_types), frozenset(queues)
        self._start, self._close = start, close
        self._submitted = self._counter(definitions.SUBMITTED)
        self._ended = self._counter(definitions.ENDED)
        self._renewals = self._counter(definitions.RENEWALS)
        running = definitions.RUNNING
        self._running = meter.create_up_down_counter(running.name, unit=running.unit, description=running.help)
        self._wait = self._histogram(definitions.WAIT)
        self._attempt = self._histogram(definitions.ATTEMPT)
        self._storage_call = self._histogram(definitions.STORAGE_CALL)
        failed = definitions.HOOKS_FAILED
        meter.create_observable_counter(
            failed.name, callbacks=[_observe_failures], unit=failed.unit, description=failed.help
        )

    @property
    def hook(self) -> Hook:
        return self

    def start(self) -> None:
        self._start()

    def observe(self, metric: Metric, look: Callable[[], Iterable[Observed]]) -> None:
        def observations(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for value, labels in look()]

        self._meter.create_observable_gauge(
            metric.name, callbacks=[observations], unit=metric.unit, description=metric.help
        )

    def storage_called(self, operation: str, *, name: str, outcome: str, duration_s: float) -> None:
        self._storage_call.record(duration_s, {"operation": operation, "outcome": outcome})

    def lease_renewed(self, queue: str, *, outcome: LeaseOutcome) -> None:
        self._renewals.add(1, {"queue": queue, "outcome": outcome})

    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        self._submitted.add(1, self._labels(task))

    def before(self, attempt: AttemptInfo) -> None:
        labels = self._labels(attempt.task)
        self._running.add(1, labels)
        if attempt.waited_s is not None:
            self._wait.record(attempt.waited_s, labels)

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        labels = self._labels(attempt.task)
        self._running.add(-1, labels)
        self._attempt.record(end.duration_s, {**labels, "outcome": end.outcome})
        if end.outcome == "succeeded":
            self._ended.add(1, {**labels, "outcome": "succeeded"})

    def on_death(self, task: TaskInfo, reason: str) -> None:
        self._ended.add(1, {**self._labels(task), "outcome": "dead"})

    def on_cancel(self, task: TaskInfo) -> None:
        self._ended.add(1, {**self._labels(task), "outcome": "cancelled"})

    def close(self) -> None:
        self._close()

    def _labels(self, task: TaskInfo) -> dict[str, str]:
        return {
            "task_type": task.task_type if task.task_type in self._task_types else OTHER,
            "queue": task.queue if task.queue in self._queues else OTHER,
        }

    def _counter(self, metric: Metric) -> Counter:
        return self._meter.create_counter(metric.name, unit=metric.unit, description=metric.help)

    def _histogram(self, metric: Metric) -> Histogram:
        return self._meter.create_histogram(
            metric.name,
            unit=metric.unit,
            description=metric.help,
            explicit_bucket_boundaries_advisory=metric.bounds,
        )


def _observe_failures(options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(times, {"hook": hook}) for hook, times in failures().items()]
