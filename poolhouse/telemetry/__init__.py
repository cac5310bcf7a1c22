"""OpenTelemetry: spans as a hook, `hooks = ["poolhouse.telemetry:Tracing"]`, metrics and traces by variables.

It needs the extra `poolhouse[telemetry]`.
"""

from poolhouse.telemetry.tracing import Tracing

__all__ = ["Tracing"]
