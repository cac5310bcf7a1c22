"""Where the spans of a process go: the providers behind TRACES_EXPORTER."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import ProxyTracerProvider, StatusCode, get_tracer_provider, set_tracer_provider

from poolhouse.pipeline.config import settings as environment
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.metrics.process_metrics import Part
from poolhouse.pipeline.traces.span_files import SpanFiles
from poolhouse.pipeline.traces.spans import MOST_ATTRIBUTES, MOST_CHARACTERS, MOST_EVENTS, Event, Span, attributes
from poolhouse.telemetry.exporters import process_resource
from poolhouse.telemetry.traces import DeliveryTracing, Traces

#: How long a span waits for others before it is written to the file, in milliseconds.
_DELAY_MS = 500
#: So that a line of the file stays one that is read.
_LIMITS = SpanLimits(
    max_span_attributes=MOST_ATTRIBUTES,
    max_event_attributes=8,
    max_events=MOST_EVENTS,
    max_span_attribute_length=MOST_CHARACTERS,
    max_attribute_length=MOST_CHARACTERS,
)

_log = structlog.get_logger(__name__)
#: The providers of this process, one in all but tests.
_opened: list[TracerProvider] = []


def open_traces(settings: Settings, *, part: Part) -> Traces:
    """Return the traces of a process. As `poolhouse.pipeline.traces.process_traces.open_traces`."""
    return Traces(_open(settings, part=part))


def hook() -> DeliveryTracing:
    """Return the hook of this process; a handler process opens a provider of its own, as its environment says."""
    return DeliveryTracing(_opened[-1] if _opened else _open(environment.load(), part="worker"))


def _open(settings: Settings, *, part: Part) -> TracerProvider:
    """Make a provider; where handlers run it is the global one too, if there is no other: for their spans.

    Not in the API: FastAPI traces every call while there is a global provider, each look of the console included.
    """
    resource = process_resource(f"{settings.topology.name}-{part}")
    match settings.traces_exporter:
        case "file":
            provider = TracerProvider(resource=resource, span_limits=_LIMITS)
            exporter: SpanExporter = FileExporter(SpanFiles(Path(settings.traces_dir)))
            provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=_DELAY_MS))
        case "cloud_trace":
            from poolhouse.telemetry import cloud_trace  # noqa: PLC0415 - each exporter only where it is used

            provider = TracerProvider(resource=resource.merge(cloud_trace.resource(settings.google_cloud_project)))
            provider.add_span_processor(BatchSpanProcessor(cloud_trace.open_exporter()))
        case _:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

            provider = TracerProvider(resource=resource)
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    if part != "api" and isinstance(get_tracer_provider(), ProxyTracerProvider):
        set_tracer_provider(provider)
    _opened.append(provider)
    return provider


class FileExporter(SpanExporter):
    """Appends spans to the files of a folder."""

    def __init__(self, files: SpanFiles) -> None:
        self._files = files
        self._failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self._files.append([_written(span) for span in spans])
        except OSError as error:
            if not self._failed:
                _log.warning("spans can't be written, and are dropped", error=str(error))
            self._failed = True
            return SpanExportResult.FAILURE
        self._failed = False
        return SpanExportResult.SUCCESS


def _written(span: ReadableSpan) -> Span:
    """A finished span of OpenTelemetry's as a line has it."""
    return Span(
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        parent_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=span.name[:MOST_CHARACTERS],
        kind=span.kind.name.lower(),
        service=str(span.resource.attributes.get("service.name", "")),
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        failed=span.status.status_code is StatusCode.ERROR,
        message=(span.status.description or "")[:MOST_CHARACTERS],
        attributes=_attributes(span.attributes),
        events=tuple(Event(name=event.name, attributes=_attributes(event.attributes)) for event in span.events),
    )


def _attributes(found: Mapping[str, object] | None) -> dict[str, str]:
    # A traceback is kept with the attempt, whole.
    return attributes({name: value for name, value in (found or {}).items() if name != "exception.stacktrace"})
