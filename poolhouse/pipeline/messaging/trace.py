"""W3C trace context of a request: accepted where well formed, and passed on with the task."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: W3C Trace Context, section 3.2: version, trace id, parent id and flags; none of the ids all zero.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Section 3.3.1.5: what must be passed on at the least; longer ones are dropped.
_MAX_TRACESTATE = 512


def context(headers: Mapping[str, str]) -> dict[str, str]:
    """The `traceparent` and `tracestate` of a request; empty where there is none, or no valid one."""
    parent = headers.get("traceparent", "")
    if not _TRACEPARENT.fullmatch(parent):
        return {}
    state = headers.get("tracestate", "")
    if state and len(state) <= _MAX_TRACESTATE and state.isascii() and state.isprintable():
        return {"traceparent": parent, "tracestate": state}
    return {"traceparent": parent}


def trace_id(headers: Mapping[str, str]) -> str | None:
    """The id of the trace that a request or a message belongs to."""
    match = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    return match[1] if match else None


def recorded_trace_id(context: Mapping[str, str]) -> str | None:
    """The same, where whoever began the trace records it: it is sampled (W3C Trace Context, section 3.2.2.5)."""
    found = trace_id(context)
    return found if found is not None and int(context["traceparent"][-2:], 16) & 1 else None


def log_fields(context: Mapping[str, str], *, project: str) -> dict[str, str]:
    """What Cloud Logging shows a line with a recorded trace by; empty where there is none (Structured logging)."""
    found = recorded_trace_id(context)
    if found is None:
        return {}
    span_id = context["traceparent"].split("-")[2]
    return {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{found}",
        "logging.googleapis.com/spanId": span_id,
    }
