"""Rates of starts, as `Limit(rate="10/m")` and `rate_per_process` declare them."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from poolhouse.pipeline.errors import ConfigError

_SPANS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Rate:
    """So many starts in each span of time."""

    starts: int
    span_s: float


def parse_rate(text: str) -> Rate:
    """Read `10/m`: a number of starts in each second (s), minute (m) or hour (h). Raises `ConfigError`."""
    match = re.fullmatch(r"([1-9]\d*)/([smh])", text, re.ASCII)
    if not match:
        raise ConfigError(f"{text!r} is no rate: write a number, / and s, m or h, as in 10/m")
    return Rate(int(match[1]), _SPANS_S[match[2]])


class RateWindow:
    """Never more starts than the rate in any span of time."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._starts: deque[float] = deque(maxlen=rate.starts)

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until the next start is allowed; 0 if it is now."""
        if len(self._starts) < self._rate.starts:
            return 0.0
        return max(0.0, self._starts[0] + self._rate.span_s - now_s)

    def start(self, now_s: float) -> None:
        """Count a start."""
        self._starts.append(now_s)
