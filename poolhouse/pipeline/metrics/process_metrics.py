"""What API, workers and scheduler report beside what their hooks see. Without an exporter there is none of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol, cast

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.hooks import Hook, load
from poolhouse.pipeline.metrics.definitions import Metric
from poolhouse.pipeline.webhooks.events import WEBHOOK

#: A value, and its labels.
Observed = tuple[float, Mapping[str, str]]
Part = Literal["api", "worker", "scheduler"]
LeaseOutcome = Literal["renewed", "lost", "failed"]


class ProcessMetrics(Protocol):
    """The metrics of one process. Thread-safe."""

    @property
    def hook(self) -> Hook:
        """The hook that counts tasks; its `close` ends the metrics."""

    def storage_called(self, operation: str, *, name: str, outcome: str, duration_s: float) -> None:
        """Note a storage call that has ended just now; `name` is the object's, or a prefix."""

    def lease_renewed(self, queue: str, *, outcome: LeaseOutcome) -> None:
        """Note that the lease of a running task was written, or could not be."""

    def observe(self, metric: Metric, look: Callable[[], Iterable[Observed]]) -> None:
        """Call `look` for the values of a gauge, on a thread of its own, whenever they are asked for."""

    def start(self) -> None:
        """Serve, or send. Raises `ConfigError` where no port is free."""


def process_hooks(declared: Iterable[str], metrics: ProcessMetrics | None) -> tuple[Hook, ...]:
    """Return the hooks of pipeline.toml, and before them the one that counts. Raises `ConfigError` as `load` does."""
    found = load(declared)
    return found if metrics is None else (metrics.hook, *found)


def open_metrics(settings: Settings, *, part: Part, task_types: Iterable[str]) -> ProcessMetrics | None:
    """Return the metrics of this process; None where METRICS_EXPORTER names no exporter, and nothing is imported.

    Args:
        settings: the environment.
        part: what this process is.
        task_types: of the project: the values that the label `task_type` may have, beside the kit's own.

    Raises:
        ConfigError: the libraries are not installed.
    """
    if settings.metrics_exporter == "none":
        return None
    try:
        # By name, as hooks are: OpenTelemetry is an extra, and `pipeline` imports no other part.
        exporters = importlib.import_module("poolhouse.telemetry.exporters")
        metrics = exporters.open_metrics(settings, part=part, task_types={*task_types, WEBHOOK})
    except ImportError as error:
        raise ConfigError(
            f"METRICS_EXPORTER={settings.metrics_exporter}: {error}: pip install 'poolhouse[telemetry]'"
        ) from None
    return cast(ProcessMetrics, metrics)
