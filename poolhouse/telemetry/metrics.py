"""Metrics of tasks, by OpenTelemetry: counters and a histogram, by task type and queue."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter, get_meter_provider

from poolhouse.pipeline.hooks import AttemptEnd, AttemptInfo, Hook, TaskInfo, failures

#: Longest time that a process waits for its exporter when it ends, in milliseconds.
FLUSH_MS = 3000


class Metrics(Hook):
    """Counts what is submitted, what runs, and how it ends."""

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        """Measure with a provider.

        Args:
            meter_provider: by default OpenTelemetry's global one.
        """
        self._provider = meter_provider
        meter = get_meter("poolhouse", meter_provider=meter_provider)
        self._submitted = meter.create_counter(
            "poolhouse.tasks.submitted", unit="{task}", description="Tasks given to their queue."
        )
        self._running = meter.create_up_down_counter(
            "poolhouse.attempts.running", unit="{attempt}", description="Attempts in hand."
        )
        self._duration = meter.create_histogram(
            "poolhouse.attempt.duration", unit="s", description="How long attempts took, by outcome."
        )
        self._wait = meter.create_histogram(
            "poolhouse.task.wait", unit="s", description="From the submit to the first attempt."
        )
        self._dead = meter.create_counter(
            "poolhouse.tasks.dead", unit="{task}", description="Tasks that failed for good: one dead letter each."
        )
        self._cancelled = meter.create_counter(
            "poolhouse.tasks.cancelled", unit="{task}", description="Tasks that were cancelled."
        )
        meter.create_observable_counter(
            "poolhouse.hooks.failed",
            callbacks=[_observe_failures],
            unit="{call}",
            description="Calls of hooks that raised, in this process.",
        )

    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        self._submitted.add(1, _labels(task))

    def before(self, attempt: AttemptInfo) -> None:
        self._running.add(1, _labels(attempt.task))
        if attempt.number == 1:
            waited_s = (attempt.started_at - attempt.task.submitted_at).total_seconds()
            self._wait.record(max(0.0, waited_s), _labels(attempt.task))

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        self._running.add(-1, _labels(attempt.task))
        self._duration.record(end.duration_s, {**_labels(attempt.task), "outcome": end.outcome})

    def on_death(self, task: TaskInfo, reason: str) -> None:
        self._dead.add(1, _labels(task))

    def on_cancel(self, task: TaskInfo) -> None:
        self._cancelled.add(1, _labels(task))

    def close(self) -> None:
        """Send what is kept back."""
        flush = getattr(self._provider or get_meter_provider(), "force_flush", None)
        if flush is not None:
            flush(FLUSH_MS)


def _labels(task: TaskInfo) -> dict[str, str]:
    return {"task_type": task.task_type, "queue": task.queue}


def _observe_failures(options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(times, {"hook": hook}) for hook, times in failures().items()]
