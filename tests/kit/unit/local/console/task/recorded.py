"""Spans as processes record them."""

from __future__ import annotations

from typing import Any

from poolhouse.pipeline.traces.spans import Span

TRACE = "a" * 32
#: When the first of them begin, in nanoseconds since 1970.
BASE_NS = 1_800_000_000 * 10**9


def span(
    number: int,
    *,
    parent: int | None = None,
    start: float = 0,
    end: float | None = None,
    task_id: str | None = None,
    attempt: int | None = None,
    trace: str = TRACE,
    **fields: Any,
) -> Span:
    """A span by its number; start and end in seconds."""
    attributes = dict(fields.pop("attributes", {}))
    if task_id is not None:
        attributes["poolhouse.task_id"] = task_id
    if attempt is not None:
        attributes["poolhouse.attempt"] = str(attempt)
    return Span(
        **{"name": f"span {number}", "kind": "internal", "service": "shop-worker", **fields},
        trace_id=trace,
        span_id=f"{number:016x}",
        parent_id=None if parent is None else f"{parent:016x}",
        start_ns=BASE_NS + int(start * 1e9),
        end_ns=BASE_NS + int((start if end is None else end) * 1e9),
        attributes=attributes,
    )


def retried() -> list[Span]:
    """A task that fails once, and then submits another one."""
    return [
        span(1, name="POST /tasks", kind="server", service="shop-api", end=0.5, task_id="a"),
        span(2, parent=1, name="submit a", kind="producer", service="shop-api", start=0.1, end=0.1, task_id="a"),
        span(3, parent=2, name="publish default", kind="client", service="shop-api", start=0.1, end=0.4, task_id="a"),
        span(4, parent=2, name="process a", kind="consumer", start=1, end=2, task_id="a", attempt=1, failed=True),
        span(5, parent=4, name="run a", start=1.2, end=1.8, task_id="a", attempt=1, failed=True),
        span(6, parent=2, name="process a", kind="consumer", start=4, end=5, task_id="a", attempt=2),
        span(7, parent=6, name="storage put", kind="client", start=4, end=4.1),
        span(8, parent=6, name="submit b", kind="producer", start=4.8, end=4.8, task_id="b"),
        span(9, parent=8, name="process b", kind="consumer", start=5, end=6, task_id="b", attempt=1),
    ]
