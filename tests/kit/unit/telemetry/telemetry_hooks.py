"""Hooks as a project sets them up: providers of its own, made once for each process."""

from __future__ import annotations

import os
from functools import cache

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from poolhouse import Payload, TaskContext, task
from poolhouse.telemetry import Tracing
from poolhouse.telemetry.metrics import Metrics

exporter = InMemorySpanExporter()
tracers = TracerProvider()
tracers.add_span_processor(SimpleSpanProcessor(exporter))
reader = InMemoryMetricReader()
meters = MeterProvider(metric_readers=[reader])


@cache
def tracing() -> Tracing:
    return Tracing(tracers)


@cache
def metrics() -> Metrics:
    return Metrics(
        meters.get_meter("poolhouse"), task_types=("traced", "traced_async", "traced_parent"), queues=("default",)
    )


def tracing_to_a_file() -> Tracing:
    """Spans go to the file SPANS, in batches; for processes of their own."""
    provider = TracerProvider()
    file = open(os.environ["SPANS"], "a", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=file), schedule_delay_millis=60_000))
    return Tracing(provider)


class Times(Payload):
    failures: int = 0


@task("traced", max_attempts=2)
def traced(payload: Times, ctx: TaskContext) -> None:
    with tracers.get_tracer("handler").start_as_current_span("inside"):
        if ctx.attempt <= payload.failures:
            raise ConnectionError("not yet")


@task("traced_async")
async def traced_async(payload: Times, ctx: TaskContext) -> None:
    with tracers.get_tracer("handler").start_as_current_span("inside"):
        pass


@task("traced_parent")
def traced_parent(payload: Times, ctx: TaskContext) -> None:
    ctx.submit("traced_async", {})
