"""The spans that API, workers and scheduler record beside those of hooks. Without an exporter there is none of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, cast

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.metrics.process_metrics import Part

#: The hook that records submits and handlers; handler processes load it by this name too.
_HOOK = "poolhouse.telemetry.trace_exporters:hook"


class ServedCall(Protocol):
    """The span of one HTTP call."""

    def ended(self, *, route: str, status: int, task_id: str | None) -> None:
        """Note how it was answered.

        Args:
            route: its path as declared, such as `/tasks/{task_id}`; the same for all ids.
            status: the HTTP status; 0 where nothing was sent.
            task_id: of the task that it submitted.
        """


class ProcessTraces(Protocol):
    """The traces of one process. Thread-safe."""

    def serving(self, method: str, headers: Mapping[str, str]) -> AbstractContextManager[ServedCall]:
        """Record an HTTP call, below its `traceparent`; the context manager spans it."""

    def received(self, task: TaskMessage) -> AbstractContextManager[Mapping[str, str]]:
        """Record a delivery of a task, from its claim to its end; gives the trace context for what is below it."""

    def publishing(self, queue: str, attributes: Mapping[str, str]) -> Callable[[Future[str]], None] | None:
        """Record a publish from now on, below the trace context in the message's attributes; None where there is none.

        Returns:
            To be called with the answer.
        """

    def storage_called(self, operation: str, *, name: str, outcome: str, duration_s: float) -> None:
        """Record a storage call that has ended just now, where it belongs to something that is recorded."""


def open_traces(settings: Settings, *, part: Part) -> ProcessTraces | None:
    """Return the traces of this process; None where TRACES_EXPORTER names no exporter, and nothing is imported.

    Raises:
        ConfigError: the libraries are not installed, or there is no folder for the files.
    """
    if settings.traces_exporter == "none":
        return None
    if settings.traces_exporter == "file" and not settings.traces_dir:
        raise ConfigError(
            "TRACES_EXPORTER=file: TRACES_DIR names no folder for the spans. ./invoke up sets it; elsewhere set it, or "
            "send spans to a collector with TRACES_EXPORTER=otlp"
        )
    try:
        # By name, as hooks are: OpenTelemetry is an extra, and `pipeline` imports no other part.
        exporters = importlib.import_module("poolhouse.telemetry.trace_exporters")
        traces = exporters.open_traces(settings, part=part)
    except ImportError as error:
        raise ConfigError(
            f"TRACES_EXPORTER={settings.traces_exporter}: {error}: pip install 'poolhouse[telemetry]'"
        ) from None
    return cast(ProcessTraces, traces)


def hook_names(settings: Settings) -> tuple[str, ...]:
    """The hooks of pipeline.toml, and before them the one that traces, where traces are on."""
    declared = settings.topology.hooks
    return declared if settings.traces_exporter == "none" else (_HOOK, *declared)
