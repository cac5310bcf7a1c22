"""The spans of a process beside those of hooks: HTTP calls, publishes, deliveries and storage calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from poolhouse.pipeline.hooks import AttemptEnd, AttemptInfo
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.traces.spans import ATTEMPT, TASK_ID
from poolhouse.telemetry.tracing import SCOPE, Tracing, attributes_of, record_error

_W3C = TraceContextTextMapPropagator()
_OUTCOME = "poolhouse.outcome"
#: Outcomes of an attempt that are failures.
_FAILED = frozenset({"retried", "failed", "dead"})


class DeliveryTracing(Tracing):
    """Spans of submits and handlers, and on the span of the delivery around them what came of the attempt."""

    def __init__(self, tracer_provider: TracerProvider) -> None:
        super().__init__(tracer_provider, kind=SpanKind.INTERNAL)

    def before(self, attempt: AttemptInfo) -> None:
        span = get_current_span()  # called on the thread of the delivery
        span.set_attribute(ATTEMPT, attempt.number)
        if attempt.waited_s is not None:
            span.set_attribute("poolhouse.waited_s", round(attempt.waited_s, 3))

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        span = get_current_span()
        span.set_attribute(_OUTCOME, end.outcome)
        if end.outcome in _FAILED:
            span.set_status(Status(StatusCode.ERROR, end.error.type if end.error is not None else end.outcome))


class Traces:
    """Implements `poolhouse.pipeline.traces.process_traces.ProcessTraces`."""

    def __init__(self, provider: TracerProvider) -> None:
        """Record with a provider."""
        self._tracer: Tracer = provider.get_tracer(SCOPE)

    @contextmanager
    def serving(self, method: str, headers: Mapping[str, str]) -> Iterator[_ServedCall]:
        inside = get_current_span().get_span_context().is_valid  # instrumentation of the application's own
        with self._tracer.start_as_current_span(
            method,
            context=None if inside else _W3C.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        ) as span:
            yield _ServedCall(span, method)

    @contextmanager
    def received(self, task: TaskMessage) -> Iterator[Mapping[str, str]]:
        with self._tracer.start_as_current_span(
            f"process {task.task_type}",
            context=_W3C.extract(task.trace),
            kind=SpanKind.CONSUMER,
            attributes=attributes_of(task),
        ):
            below: dict[str, str] = {}
            _W3C.inject(below)
            yield below

    def publishing(self, queue: str, attributes: Mapping[str, str]) -> Callable[[Future[str]], None] | None:
        parent = _W3C.extract(attributes)
        if not get_current_span(parent).get_span_context().is_valid:
            return None
        known = {TASK_ID: attributes["task_id"]} if "task_id" in attributes else {}
        span = self._tracer.start_span(
            f"publish {queue}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes={"messaging.system": "gcp_pubsub", "messaging.destination.name": queue, **known},
        )
        return partial(_published, span)

    def storage_called(self, operation: str, *, name: str, outcome: str, duration_s: float) -> None:
        if not get_current_span().is_recording():
            return
        ended_ns = time.time_ns()
        span = self._tracer.start_span(
            f"storage {operation}",
            kind=SpanKind.CLIENT,
            start_time=ended_ns - int(duration_s * 1e9),
            attributes={"poolhouse.object": name, _OUTCOME: outcome},
        )
        if outcome == "error":
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_ns)


class _ServedCall:
    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def ended(self, *, route: str, status: int, task_id: str | None) -> None:
        self._span.update_name(f"{self._method} {route}".strip())
        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if task_id is not None:
            self._span.set_attribute(TASK_ID, task_id)
        if status >= 500 or not status:
            self._span.set_status(Status(StatusCode.ERROR))


def _published(span: Span, answer: Future[str]) -> None:
    error = answer.exception()
    if error is None:
        span.set_attribute("messaging.message.id", answer.result())
    else:
        record_error(span, error)
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
    span.end()
