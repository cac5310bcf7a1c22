"""OpenTelemetry: spans as a hook, `hooks = ["poolhouse.telemetry:Tracing"]`, and the metrics of METRICS_EXPORTER.

It needs the extra `poolhouse[telemetry]`.
"""

from poolhouse.telemetry.tracing import Tracing

__all__ = ["Tracing"]
