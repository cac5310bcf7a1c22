"""Spans of tasks: one trace from the call that submits a task, through its message, to each of its attempts.

The trace context travels as `traceparent` in the message's attributes (W3C Trace Context), so a retry an hour later, in
another process, is still part of it.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_current_span,
    get_tracer,
    get_tracer_provider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from poolhouse.pipeline import secret_values
from poolhouse.pipeline.hooks import AttemptInfo, Hook, TaskInfo
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.traces.spans import ATTEMPT, TASK_ID

#: Longest time that a process waits for its exporter when it ends, in milliseconds.
FLUSH_MS = 3000
#: The name of our tracer.
SCOPE = "poolhouse"
_W3C = TraceContextTextMapPropagator()


class Tracing(Hook):
    """A span for each submit, and one for each attempt below it."""

    def __init__(self, tracer_provider: TracerProvider | None = None, *, kind: SpanKind = SpanKind.CONSUMER) -> None:
        """Trace with a provider.

        Args:
            tracer_provider: by default OpenTelemetry's global one.
            kind: of the span of an attempt.
        """
        self._provider = tracer_provider
        self._kind = kind

    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        """A span below the caller's own, or below the one of its `traceparent`; the message carries it on."""
        inside = get_current_span().get_span_context().is_valid
        parent = None if inside else _W3C.extract(trace)
        with self._tracer.start_as_current_span(
            f"submit {task.task_type}", context=parent, kind=SpanKind.PRODUCER, attributes=attributes_of(task)
        ):
            _W3C.inject(trace)

    @contextmanager
    def around(self, attempt: AttemptInfo) -> Iterator[None]:
        """A span of the attempt, current while the handler runs: the spans of its libraries are below it."""
        try:
            with self._tracer.start_as_current_span(
                f"run {attempt.task.task_type}",
                context=_W3C.extract(attempt.task.trace),
                kind=self._kind,
                attributes={**attributes_of(attempt.task), ATTEMPT: attempt.number},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    yield
                except BaseException as error:
                    record_error(span, error)
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                    raise
        finally:
            if multiprocessing.parent_process() is not None:
                self.close()  # a handler process may be ended at any time once its task is done

    def close(self) -> None:
        """Send what is kept back."""
        flush = getattr(self._provider or get_tracer_provider(), "force_flush", None)
        if flush is not None:
            flush(FLUSH_MS)

    @property
    def _tracer(self) -> Tracer:
        return get_tracer(SCOPE, tracer_provider=self._provider)


def record_error(span: Span, error: BaseException) -> None:
    """Add an error to a span, without values of secrets."""
    if not secret_values.known:
        span.record_exception(error)
        return
    texts = {"message": str(error), "stacktrace": "".join(traceback.format_exception(error))}
    masked = {f"exception.{name}": secret_values.known.mask(text) for name, text in texts.items()}
    span.record_exception(error, attributes=masked)


def attributes_of(task: TaskInfo | TaskMessage) -> dict[str, str]:
    """Of OpenTelemetry's conventions for messaging, and our own."""
    return {
        "messaging.system": "gcp_pubsub",
        "messaging.destination.name": task.queue,
        TASK_ID: task.task_id,
        "poolhouse.task_type": task.task_type,
    }
