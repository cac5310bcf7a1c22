"""Waiting for what happens elsewhere: no sleep for luck, and an error that says what did not come."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], what: str | Callable[[], str], *, timeout_s: float = 60) -> float:
    """Wait until it is true.

    Args:
        condition: asked again and again.
        what: what is waited for, or gives what there is instead; for the error.
        timeout_s: longest time, in seconds.

    Returns:
        The time it took, in seconds.

    Raises:
        AssertionError: it was not true in time.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() > started + timeout_s:
            raise AssertionError(f"not in time: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
    return time.monotonic() - started
