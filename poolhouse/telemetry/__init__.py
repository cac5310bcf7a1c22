"""OpenTelemetry hooks, for pipeline.toml: `hooks = ["poolhouse.telemetry:Tracing", "poolhouse.telemetry:Metrics"]`.

They need the extra `poolhouse[telemetry]`, and an SDK and exporters that the project sets up as for any other program.
"""

from poolhouse.telemetry.metrics import Metrics
from poolhouse.telemetry.tracing import Tracing

__all__ = ["Metrics", "Tracing"]
