"""What people write and read: ages, rates, sizes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from poolhouse.pipeline.errors import ConfigError

#: A hundred years: what lies further ahead or back is no date before long.
_LONGEST_S = 100 * 366 * 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str, *, option: str) -> timedelta:
    """Read `90s`, `15m`, `2h` or `3d`. Raises `ConfigError` that names the option."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([smhd])", text.strip(), re.ASCII)
    if not match:
        raise ConfigError(f"{option} {text!r}: write a number and s, m, h or d, such as 90s, 15m, 2h or 3d")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST_S:
        raise ConfigError(f"{option} {text!r} is more than a hundred years")
    return timedelta(seconds=seconds)


def rate(text: str, *, option: str) -> float:
    """Read `10/s`, `100/m` or `1000/h` as a number a second. Raises `ConfigError` that names the option."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*/\s*([smh])", text.strip(), re.ASCII)
    if not match or float(match[1]) <= 0:
        raise ConfigError(f"{option} {text!r}: write a number and /s, /m or /h, such as 10/s or 100/m")
    return float(match[1]) / _SECONDS[match[2]]


def positive(number: int, *, option: str) -> int:
    """Return a count, if it is one. Raises `ConfigError` that names the option."""
    if number < 1:
        raise ConfigError(f"{option} {number}: at least 1")
    return number


def progress(reported: Mapping[str, Any]) -> str:
    """Return a task's progress as text: `3 of 10`, or `unknown` where its handler did not know."""
    done, total = reported.get("done"), reported.get("total")
    return ("unknown" if done is None else f"{done:g}") + (f" of {total:g}" if total else "")


class Pace:
    """Lets one through at a time, so many a second and no burst."""

    def __init__(
        self,
        per_s: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args: per_s: how many a second; None: as fast as it goes."""
        self._gap_s = 0.0 if per_s is None else 1 / per_s
        self._clock = clock
        self._sleep = sleep
        self._next_s = clock()

    def wait(self) -> None:
        """Return when the next one may go."""
        pause_s = self._next_s - self._clock()
        if pause_s > 0:
            self._sleep(pause_s)
        self._next_s = max(self._next_s, self._clock()) + self._gap_s


def age(at: datetime, *, now: datetime) -> str:
    """How long ago: `12 s`, `5 min`, `3.2 h`, `4 d`; `in 5 min` for what is to come."""
    seconds = (now - at).total_seconds()
    return span(seconds) if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """How long: `12 s`, `5 min`, `3.2 h`, `4 d`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86_400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.0f} d"


def brief(seconds: float) -> str:
    """How long, to two digits where it is short: `12 ms`, `0.3 s`, `4.2 s`, then as `span`."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def moment(text: str | None) -> datetime | None:
    """Read a time of the API's; None for what is none."""
    try:
        at = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


def size(count: int) -> str:
    """Bytes for people: `812 B`, `3.4 kB`, `1.2 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
