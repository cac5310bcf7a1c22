"""Where the metrics of a process go: the providers behind METRICS_EXPORTER."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection
from functools import partial

from opentelemetry.metrics import get_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.metrics.process_metrics import Part
from poolhouse.pipeline.web_guard import LOCAL, WebGuard
from poolhouse.telemetry.metrics import Metrics

#: Longest time that a process waits for its exporter when it ends, in milliseconds.
FLUSH_MS = 3000
_SCOPE = "poolhouse"


def open_metrics(settings: Settings, *, part: Part, task_types: Collection[str]) -> Metrics:
    """Return the metrics of a process. As `poolhouse.pipeline.metrics.open_metrics`."""
    service, queues = f"{settings.topology.name}-{part}", tuple(settings.topology.by_name)
    match settings.metrics_exporter:
        case "prometheus":
            from poolhouse.telemetry.prometheus import Endpoint  # noqa: PLC0415 - each exporter only where it is used

            guard = WebGuard.of(hosts=settings.allowed_hosts or LOCAL, origins=None)
            endpoint = Endpoint(host=settings.metrics_host, port=settings.metrics_port, guard=guard)
            return Metrics(
                _provider(endpoint.reader, service=service).get_meter(_SCOPE),
                task_types=task_types,
                queues=queues,
                start=endpoint.start,
                close=endpoint.close,
            )
        case "otlp":
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415

            provider = _provider(PeriodicExportingMetricReader(OTLPMetricExporter()), service=service)
            return Metrics(
                provider.get_meter(_SCOPE),
                task_types=task_types,
                queues=queues,
                close=partial(provider.shutdown, timeout_millis=FLUSH_MS),
            )
        case _:
            meter = get_meter_provider().get_meter(_SCOPE)
            return Metrics(meter, task_types=task_types, queues=queues, close=_flush_global)


def process_resource(service: str) -> Resource:
    """Return what OpenTelemetry is told of this process; those of a deployment differ by their instance."""
    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or service}
    instance = {"service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
    return Resource.create({**named, **instance})


def _provider(reader: MetricReader, *, service: str) -> MeterProvider:
    return MeterProvider([reader], resource=process_resource(service))


def _flush_global() -> None:
    flush = getattr(get_meter_provider(), "force_flush", None)
    if flush is not None:
        flush(FLUSH_MS)
