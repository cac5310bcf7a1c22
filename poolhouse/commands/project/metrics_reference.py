"""The table of docs/metrics.md, generated from the definitions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from poolhouse.pipeline.metrics.definitions import CATALOGUE

_HEAD = "| metric | in Prometheus | labels | reported by | |"
_TABLE = re.compile(rf"^{re.escape(_HEAD)}\n(\|.*\n)*", re.MULTILINE)


def current(page: str) -> str:
    """Return the page with its table generated anew."""
    return _TABLE.sub(lambda _: "\n".join(_lines()) + "\n", page)


def _lines() -> Iterator[str]:
    yield _HEAD
    yield "| --- | --- | --- | --- | --- |"
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        parts = ", ".join(metric.parts)
        yield f"| `{metric.name}` | `{metric.prometheus_name}` | {labels} | {parts} | {metric.help} |"
