"""A Grafana dashboard of the metrics that processes serve to Prometheus."""

from __future__ import annotations

import json
from typing import Any

from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.metrics.definitions import SLOTS
from poolhouse.pipeline.metrics.panels import PANELS, Panel, Unit
from poolhouse.pipeline.metrics.promql import PrometheusNames

#: Version of the JSON that this is: Grafana 11's. Later ones convert it as they read it.
SCHEMA_VERSION = 39
#: Grafana's names of units.
_UNITS: dict[Unit, str] = {"seconds": "s", "per second": "reqps", "part": "percentunit", "count": "short"}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Grafana fills these in: four times what Prometheus scrapes at, and what a viewer has chosen.
_NAMES = PrometheusNames(window="$__rate_interval", always={"job": "$job", "queue": "$queue"})


def dashboard(topology: Topology) -> str:
    """Return the dashboard as JSON, for Grafana's import or its provisioning."""
    body = {
        "uid": f"poolhouse-{topology.name}"[:40],
        "title": f"{topology.name}: tasks",
        "tags": ["poolhouse"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_data_source(), _choice("job", "job"), _choice("queue", "queue")]},
        "panels": [_panel(index, panel) for index, panel in enumerate(PANELS)],
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": "\n\n".join(f"{metric.name}: {metric.help}" for metric in panel.metrics),
        "datasource": _SOURCE,
        "gridPos": {"x": 12 * (index % 2), "y": 8 * (index // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": _UNITS[panel.unit], "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": "A",
                "datasource": _SOURCE,
                "expr": panel.query(_NAMES),
                "legendFormat": " ".join(f"{{{{{label}}}}}" for label in panel.labels),
            }
        ],
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _choice(name: str, label: str) -> dict[str, Any]:
    """A variable whose values are those of a label; all of them at first."""
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({SLOTS.prometheus_name}, {label})",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
