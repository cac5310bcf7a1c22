"""How long a task may wait, and who makes it wait: Pub/Sub, or a timer (`poolhouse.pipeline.timing.timers`)."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import SupportsFloat

#: Waits up to this long, in seconds, are Pub/Sub's: its limit is 600, the margin is for clocks and the way there.
SHORT_WAIT_S = 540.0
#: Longest wait, in seconds: ten years.
LONGEST_WAIT_S = 10 * 366 * 86_400.0


def check_delay_s(delay_s: object) -> float:
    """Return a wait in seconds, if it is one.

    Raises:
        ValueError: not a number, negative, or longer than `LONGEST_WAIT_S`; the text says so, without a subject.
    """
    if isinstance(delay_s, bool) or not isinstance(delay_s, SupportsFloat):
        raise ValueError(f"must be a number of seconds, not {type(delay_s).__name__}")
    try:
        seconds = float(delay_s)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds <= LONGEST_WAIT_S:  # neither is nan
        raise ValueError(f"must be between 0 and {LONGEST_WAIT_S:.0f} seconds (ten years), not {seconds:g}")
    return seconds


def run_time(*, delay_s: object = None, run_at: datetime | None = None, now: datetime) -> datetime:
    """Return the time before which a task must not run; `now` where neither is given.

    Args:
        delay_s: seconds from now.
        run_at: a time with its zone; one that has passed means at once.
        now: the present.

    Raises:
        ValueError: both are given, the time has no zone, or one of them is too far ahead.
    """
    if delay_s is not None and run_at is not None:
        raise ValueError("give delay_s or run_at, not both")
    if delay_s is not None:
        try:
            return now + timedelta(seconds=check_delay_s(delay_s))
        except ValueError as error:
            raise ValueError(f"delay_s {error}") from None
    if run_at is None:
        return now
    if run_at.tzinfo is None:
        raise ValueError("run_at must have a time zone, such as 2030-01-31T08:00:00Z")
    if (run_at - now).total_seconds() > LONGEST_WAIT_S:
        raise ValueError("run_at must not be more than ten years ahead")
    return max(run_at, now)


def seconds_until(at: datetime, *, now: datetime) -> float:
    """Seconds from `now` to `at`; 0 where that has passed."""
    return max(0.0, (at - now).total_seconds())
