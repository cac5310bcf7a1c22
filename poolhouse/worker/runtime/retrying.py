"""Calls that must succeed: repeated until the service behind them answers, or the worker stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from poolhouse.pipeline.errors import QueueUnavailable, StoreUnavailable

#: First and longest wait between two tries, in seconds.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0

_log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")


class Stopping(Exception):
    """The worker stops: what is not durable now is for another worker."""


class RetryUntilStopped:
    """Repeats calls to storage and Pub/Sub while these are down: a task in hand holds its lease and waits."""

    def __init__(self, stopping: threading.Event, *, hopeless: tuple[type[Exception], ...] = ()) -> None:
        """Nothing is called yet.

        Args:
            stopping: once set, a call that fails is not repeated.
            hopeless: errors that no waiting helps against.
        """
        self._stopping = stopping
        self._hopeless = hopeless

    def __call__(self, call: Callable[[], _Answer]) -> _Answer:
        """Call until it answers. Raises `Stopping` when the worker stops first, and whatever else the call raises."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return call()
            except (StoreUnavailable, QueueUnavailable) as error:
                if isinstance(error, self._hopeless):
                    raise
                _log.warning("waiting for a service", error=str(error), wait_s=wait_s)
                if self._stopping.wait(wait_s):
                    raise Stopping from error
                wait_s = min(LONGEST_WAIT_S, wait_s * 2)
