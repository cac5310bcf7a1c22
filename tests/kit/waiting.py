"""Waiting for a condition instead of sleeping, with an error that names what did not happen."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(
    condition: Callable[[], object], what: str | Callable[[], str] = "the condition", *, timeout_s: float = 60
) -> float:
    """Poll a condition until it is true.

    Args:
        condition: called every 10 ms.
        what: what is waited for, or a function that returns the state found instead; for the error.
        timeout_s: longest wait, in seconds.

    Returns:
        The time it took, in seconds.

    Raises:
        AssertionError: it was not true in time.
    """
    started = time.monotonic()
    while not condition():
        if time.monotonic() > started + timeout_s:
            raise AssertionError(f"not in time: {what if isinstance(what, str) else what()}")
        time.sleep(0.01)
    return time.monotonic() - started
