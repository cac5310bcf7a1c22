"""What is promised of tasks: metrics out of the lines that workers log, charts of them, burn-rate alerts.

All are made from the definitions that Prometheus and Grafana get theirs from; no exporter is needed on Google Cloud.
"""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import monitoring
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Json, Resource
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.metrics.burn_rates import burn_rates
from poolhouse.pipeline.metrics.definitions import CATALOGUE, Metric
from poolhouse.pipeline.metrics.panels import LOGGED, Unit
from poolhouse.pipeline.metrics.promql import CloudNames, log_metric

#: Units of charts, in UCUM; a part has none.
_UNITS: dict[Unit, str] = {"seconds": "s", "per second": "1/s", "part": "", "count": ""}
#: How often an alert's expression is evaluated, and for how long it must hold, in seconds.
EVALUATE_S, HOLD_S = 60, 120
_LOGGED = tuple(metric for metric in CATALOGUE if metric.log is not None)


def log_metrics(options: Options) -> Iterator[Resource]:
    """The metrics whose definitions name a line of the log."""
    for metric in _LOGGED:
        assert metric.log is not None
        yield monitoring.log_metric(
            log_metric(options.name, metric),
            f'jsonPayload.message="{metric.log.message}" AND jsonPayload.{metric.log.value}>=0 '
            f"AND ({monitoring.of_this_pipeline(options)})",
            metric.help,
            options,
            more=_distribution(metric),
        )


def charts(options: Options) -> Iterator[Json]:
    """The widgets of the dashboard."""
    names = _names(options)
    for panel in LOGGED:
        unit = _UNITS[panel.unit]
        query = {"prometheusQuery": panel.query(names), **({"unitOverride": unit} if unit else {})}
        legend = " ".join(f"${{{label}}}" for label in panel.labels)
        line = {"timeSeriesQuery": query, "plotType": "LINE", "legendTemplate": legend}
        yield {"title": panel.title, "xyChart": {"dataSets": [line]}}


def alerts(topology: Topology, *, options: Options, tracks: ReleaseTracks) -> Iterator[Resource]:
    """One policy for each objective and pace."""
    for rate in burn_rates(topology.queues, _names(options)):
        condition = {
            "query": rate.query,
            "duration": f"{HOLD_S}s",
            "evaluationInterval": f"{EVALUATE_S}s",
            # A metric that was made a moment ago has no series yet, and these are no spelling mistakes: a test checks.
            "disableMetricValidation": True,
        }
        body = {
            **monitoring.policy(rate.title, rate.advice, options),
            "severity": "CRITICAL" if rate.pace.name == "fast" else "WARNING",
            "conditions": [{"displayName": rate.title, "conditionPrometheusQueryLanguage": condition}],
        }
        needs = [f"metric/{log_metric(options.name, metric)}" for metric in _LOGGED]
        key = f"{rate.objective}-{rate.pace.name}-burn"
        yield monitoring.alert(key, body, options=options, tracks=tracks, after=tuple(needs))


def _names(options: Options) -> CloudNames:
    resource = "cloud_run_worker_pool" if options.workers == "pool" else "cloud_run_job"
    return CloudNames(prefix=options.name, resource=resource)


def _distribution(metric: Metric) -> Json:
    assert metric.log is not None
    return {
        "valueExtractor": f"EXTRACT(jsonPayload.{metric.log.value})",
        "labelExtractors": {label: f"EXTRACT(jsonPayload.{label})" for label in metric.labels},
        "metricDescriptor": {
            "metricKind": "DELTA",
            "valueType": "DISTRIBUTION",
            "unit": metric.unit,
            "labels": [{"key": label, "valueType": "STRING"} for label in metric.labels],
        },
        "bucketOptions": {"explicitBuckets": {"bounds": list(metric.bounds)}},
    }
