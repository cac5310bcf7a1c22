"""Spans of time as tests write them: `7 days`, `1 hour 30 minutes`, `90 s`, a number of seconds, a timedelta."""

from __future__ import annotations

import math
import re
from datetime import timedelta

_UNITS_S = {"ms": 0.001, "s": 1, "second": 1, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "d": 86_400}
_UNITS_S |= {"day": 86_400, "w": 604_800, "week": 604_800}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)

Span = str | float | timedelta


def seconds(span: Span) -> float:
    """Return a span in seconds.

    Raises:
        ValueError: it is none, or negative.
    """
    if isinstance(span, timedelta):
        found = span.total_seconds()
    elif isinstance(span, str):
        found = _parse(span)
    else:
        found = float(span)
    if not 0 <= found < math.inf:
        raise ValueError(f"a span of time is 0 or more, not {span!r}")
    return found


def _parse(text: str) -> float:
    total, position = 0.0, 0
    while part := _PART.match(text, position):
        unit = part[2] if part[2] in _UNITS_S else part[2].removesuffix("s")
        if unit not in _UNITS_S:
            break
        total, position = total + float(part[1]) * _UNITS_S[unit], part.end()
    if position != len(text) or not text:
        raise ValueError(f"{text!r} is no span of time: write 90 s, 15 minutes, 1 hour 30 minutes or 7 days")
    return total
