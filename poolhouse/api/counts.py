"""Counts that take a listing each: remembered for as long as they are worth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


class Counts:
    """Counts that cost time to make: made anew when they are old for what they cost, and once for all who ask."""

    def __init__(self, *, share: float = 0.05, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Nothing is counted yet.

        Args:
            share: the part of all time that counting one thing again and again may take.
        """
        self._share = share
        self._monotonic = monotonic
        self._known: dict[str, tuple[int, float]] = {}
        self._counting: dict[str, asyncio.Lock] = {}

    async def of(self, name: str, count: Callable[[], Awaitable[int]]) -> int:
        """Return the count of `name`; `count` makes it."""
        async with self._counting.setdefault(name, asyncio.Lock()):
            known = self._known.get(name)
            started = self._monotonic()
            if known is not None and started < known[1]:
                return known[0]
            value = await count()
            ended = self._monotonic()
            self._known[name] = (value, ended + (ended - started) / self._share)
            return value
