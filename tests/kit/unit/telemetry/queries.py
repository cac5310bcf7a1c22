"""What PromQL names: its selectors, and the labels that it groups by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, MatrixSelector, ParenExpr, VectorSelector

from poolhouse.pipeline.metrics.definitions import CATALOGUE, Metric

#: Grafana puts a range in the place of its variable before Prometheus sees the query.
_VARIABLES = {"$__rate_interval": "5m"}


def parts(query: str) -> Iterator[Any]:
    """The nodes of a query; raises `ValueError` where it is none."""
    for variable, text in _VARIABLES.items():
        query = query.replace(variable, text)
    waiting = [promql_parser.parse(query)]
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case BinaryExpr():
                waiting += [node.lhs, node.rhs]
            case AggregateExpr() | ParenExpr():
                waiting.append(node.expr)
            case Call():
                waiting += node.args
            case MatrixSelector():
                waiting.append(node.vector_selector)


def selectors(query: str) -> dict[str, set[str]]:
    """By series, the labels that it is chosen by."""
    found: dict[str, set[str]] = {}
    for node in parts(query):
        if isinstance(node, VectorSelector):
            found.setdefault(str(node.name), set()).update(each.name for each in node.matchers.matchers)
    return found


def grouped_by(query: str) -> set[str]:
    """The labels that it groups by."""
    return {
        label
        for node in parts(query)
        if isinstance(node, AggregateExpr) and node.modifier is not None
        for label in node.modifier.labels
    }


def prometheus_series() -> Mapping[str, Metric]:
    """The metrics by each name of a series that the endpoint serves."""
    return {
        f"{metric.prometheus_name}{sample}": metric
        for metric in CATALOGUE
        for sample in (("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",))
    }
