"""Prometheus alerting rules of the queues' objectives."""

from __future__ import annotations

import yaml

from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.metrics.burn_rates import burn_rates
from poolhouse.pipeline.metrics.promql import PrometheusNames


def rules(topology: Topology) -> str:
    """Return a rule file, for `rule_files` in prometheus.yml."""
    entries = [
        {
            "alert": f"Poolhouse{rate.objective.capitalize()}{rate.pace.name.capitalize()}Burn",
            "expr": rate.query,
            "for": "2m",
            "labels": {"severity": "page" if rate.pace.name == "fast" else "ticket"},
            "annotations": {"summary": f"{{{{ $labels.queue }}}}: {rate.title}", "description": rate.advice},
        }
        for rate in burn_rates(topology.queues, PrometheusNames())
    ]
    body = {"groups": [{"name": f"{topology.name}-objectives", "rules": entries}]}
    return str(yaml.safe_dump(body, sort_keys=False, width=10_000, allow_unicode=True))
