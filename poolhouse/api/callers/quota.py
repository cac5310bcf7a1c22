"""The quota of one caller: calls in a UTC day, over all instances of the API.

`poolhouse.pipeline.limits.reservation` has the rules. Most calls cost a comparison; one that finds nothing reserved
waits for storage, and what is reserved ahead is renewed beside the calls.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.limits.quota_store import Counts, QuotaStore
from poolhouse.pipeline.limits.reservation import AHEAD_S, Count, Reservation
from poolhouse.pipeline.store import ABSENT

#: Exchanges with storage that a call waits for at the most: a look, a write, and another one where two instances wrote
#: at the same time.
_EXCHANGES = 3
#: How long it waits for one to begin, in seconds: two writes of an object are a second apart.
_BEGINS_S = 1.5
#: How long it waits for each in all, in seconds: from then on storage counts as down.
_WAIT_S = 3.0

_log = structlog.get_logger("poolhouse.api.quota")


def day(now: datetime) -> str:
    """The window that a call is counted in: its UTC day."""
    return f"{now.astimezone(UTC):%Y-%m-%d}"


def day_ends(now: datetime) -> datetime:
    """When the window is over."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)


class QuotaExceeded(Exception):
    """A call is one too many."""

    def __init__(self, *, used_up: bool, retry_after_s: int, resets_at: datetime) -> None:
        """Say when to come back.

        Args:
            used_up: whether none is left until the next day; otherwise other instances have reserved what is left.
            retry_after_s: when a call may be let through again, in seconds.
            resets_at: when the quota starts anew.
        """
        super().__init__(used_up, retry_after_s, resets_at)
        self.used_up = used_up
        self.retry_after_s = retry_after_s
        self.resets_at = resets_at


@dataclass
class _Day:
    """One day of this instance."""

    name: str
    reservation: Reservation
    #: In the name of its object. Another one for each day, so that a clock that is set back joins no earlier count.
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    generation: int = ABSENT
    waiting: int = 0
    exchange: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None


class Quota:
    """Counts the calls of one caller. Used on the event loop alone."""

    def __init__(
        self,
        per_day: int,
        *,
        caller: str,
        store: QuotaStore,
        run: Callable[..., Awaitable[Counts]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call nothing yet.

        Args:
            per_day: the most calls of all instances in a day.
            caller: part of the names of its objects.
            store: where the instances' counts are.
            run: makes a call of storage, on a thread.
            now: the clock that says which day it is.
            monotonic: seconds that only grow.
        """
        self.per_day = per_day
        self._caller = caller
        self._store = store
        self._run = run
        self._now = now
        self._monotonic = monotonic
        self._chance = random.Random(secrets.randbits(64))
        self._day: _Day | None = None
        self._closed = False

    async def take(self) -> None:
        """Count a call. Raises `QuotaExceeded` where it is one too many."""
        today = self._today()
        reservation = today.reservation
        for _ in range(_EXCHANGES):
            if reservation.use():
                self._plan(today)
                return
            if reservation.failing:
                break
            if not await self._wait(today):
                break
        if reservation.use() or (reservation.failing and reservation.use_unreserved()):
            self._plan(today)
            return
        self._plan(today)
        now = self._now()
        left_s = (day_ends(now) - now).total_seconds()
        # What other instances have reserved and do not use, they give back.
        soon_s = left_s if reservation.used_up else min(AHEAD_S, left_s)
        raise QuotaExceeded(
            used_up=reservation.used_up, retry_after_s=max(1, math.ceil(soon_s)), resets_at=day_ends(now)
        )

    def headers(self) -> dict[str, str]:
        """Return what an answer says of the quota (IETF draft, RateLimit header fields for HTTP)."""
        now = self._now()
        left = self._today().reservation.remaining
        return {
            "ratelimit-policy": f'"day";q={self.per_day};w=86400',
            "ratelimit": f'"day";r={left};t={math.ceil((day_ends(now) - now).total_seconds())}',
        }

    async def close(self) -> None:
        """Write what was used, and give back the rest; what storage does not take counts as used for the day."""
        self._closed = True
        today = self._day
        if today is None:
            return
        if today.timer is not None:
            today.timer.cancel()
        if today.exchange is not None:
            await today.exchange
        if today.reservation.unwritten:
            await self._write(today, today.reservation.give_back())

    def _today(self) -> _Day:
        name = day(self._now())
        if self._day is None or self._day.name != name:
            if self._day is not None and self._day.timer is not None:
                self._day.timer.cancel()
            self._day = _Day(name, Reservation(self.per_day, chance=self._chance))
        return self._day

    async def _wait(self, today: _Day) -> bool:
        """Wait for what the next exchange brings; returns whether there is a need for one now."""
        today.waiting += 1
        try:
            due_s = today.reservation.due_s(waiting=today.waiting)
            if today.exchange is None:
                if due_s is None or due_s - self._monotonic() > _BEGINS_S:
                    return False
                self._begin(today, after_s=due_s - self._monotonic())
            assert today.exchange is not None
            done, _ = await asyncio.wait({today.exchange}, timeout=_WAIT_S)
            if not done:
                today.reservation.give_up(self._monotonic())
            return True
        finally:
            today.waiting -= 1

    def _plan(self, today: _Day) -> None:
        """See to it that the next exchange is made, if there is to be one."""
        if today.exchange is not None or self._closed:
            return
        due_s = today.reservation.due_s(waiting=today.waiting)
        if due_s is None:
            return
        after_s = due_s - self._monotonic()
        if after_s <= 0:
            self._begin(today)
        elif today.timer is None or today.timer.when() > asyncio.get_running_loop().time() + after_s:
            if today.timer is not None:
                today.timer.cancel()
            today.timer = asyncio.get_running_loop().call_later(after_s, self._begin, today)

    def _begin(self, today: _Day, *, after_s: float = 0) -> None:
        if today.timer is not None:
            today.timer.cancel()
            today.timer = None
        if today.exchange is None:
            today.exchange = asyncio.get_running_loop().create_task(self._exchange(today, after_s=after_s))
            today.exchange.add_done_callback(lambda _: self._ended(today))

    def _ended(self, today: _Day) -> None:
        today.exchange = None
        if today is self._day:
            self._plan(today)

    async def _exchange(self, today: _Day, *, after_s: float = 0) -> None:
        if after_s > 0:
            await asyncio.sleep(after_s)
        await self._write(today, today.reservation.begin(self._monotonic(), waiting=today.waiting))

    async def _write(self, today: _Day, count: Count | None) -> None:
        reservation = today.reservation
        try:
            counts = await self._run(
                self._store.exchange, today.name, self._caller, today.instance, count, generation=today.generation
            )
        except PoolhouseError as error:
            reservation.fail(self._monotonic())
            _log.warning("a quota waits for storage", caller=self._caller, error=str(error))
            return
        today.generation = counts.generation
        reservation.end(self._monotonic(), mine=counts.mine, others=counts.others)
