"""How series are called where a query runs: in Prometheus, or in Cloud Monitoring, which takes PromQL too.

Sources: OpenTelemetry, Prometheus and OpenMetrics Compatibility; Cloud Monitoring, PromQL for Cloud Monitoring.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from poolhouse.pipeline.metrics.definitions import Metric

Sample = Literal["", "bucket", "count", "sum"]


class Names(Protocol):
    """The names of one system."""

    @property
    def window(self) -> str:
        """The range of rates."""

    def series(self, metric: Metric, sample: Sample = "", **matchers: str) -> str:
        """Return the selector of a metric's series.

        Args:
            metric: its definition.
            sample: which of a histogram's.
            matchers: by label, a regular expression.
        """

    def by(self, *labels: str) -> str:
        """Return the labels to group by, and those by which deployments differ in this system."""


@dataclass(frozen=True, kw_only=True)
class PrometheusNames:
    """The names that the endpoint serves."""

    window: str = "5m"
    #: Further matchers of all series: by label, a regular expression.
    always: Mapping[str, str] = field(default_factory=dict)
    #: The label by which scraped deployments differ.
    deployment: str = "job"

    def series(self, metric: Metric, sample: Sample = "", **matchers: str) -> str:
        chosen = {label: text for label, text in self.always.items() if label in {*metric.labels, self.deployment}}
        return _selector(f"{metric.prometheus_name}{_suffix(sample)}", {**chosen, **matchers})

    def by(self, *labels: str) -> str:
        return ", ".join((self.deployment, *labels))


@dataclass(frozen=True, kw_only=True)
class CloudNames:
    """The names of metrics that Google Cloud makes out of log lines."""

    #: Name of the deployment: prefix of its metrics.
    prefix: str
    #: The monitored resource whose lines they are made of.
    resource: str
    window: str = "5m"

    def series(self, metric: Metric, sample: Sample = "", **matchers: str) -> str:
        name = re.sub(r"\W", "_", log_metric(self.prefix, metric), flags=re.ASCII)
        return _selector(
            f"logging_googleapis_com:user_{name}{_suffix(sample)}", {**matchers}, monitored_resource=self.resource
        )

    def by(self, *labels: str) -> str:
        return ", ".join(labels)


def log_metric(prefix: str, metric: Metric) -> str:
    """Return the name of the metric that Google Cloud makes out of a definition's log line."""
    assert metric.log is not None, f"{metric.name} is in no log line"
    return f"{prefix}-{metric.name.removeprefix('poolhouse.').replace('.', '-')}"


def bound(value: float) -> str:
    """Return the regular expression of a bucket's label `le`: systems write whole numbers with and without a point."""
    whole, _, part = f"{value:.3f}".rstrip("0").partition(".")
    # In a string of PromQL a backslash is written twice.
    return rf"{whole}\\.{part}" if part else rf"{whole}(\\.0)?"


def _suffix(sample: Sample) -> str:
    return f"_{sample}" if sample else ""


def _selector(name: str, matchers: Mapping[str, str], **equal: str) -> str:
    parts = [f'{label}="{text}"' for label, text in equal.items()]
    parts += [f'{label}=~"{text}"' for label, text in matchers.items()]
    return f"{name}{{{','.join(parts)}}}" if parts else name
