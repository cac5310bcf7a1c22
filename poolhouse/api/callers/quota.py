"""The quota of one caller: calls in a window of time, over all instances of the API.

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

from poolhouse.pipeline.config.api_access import ApiAccess
from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.limits.quota_store import Counts, QuotaStore
from poolhouse.pipeline.limits.reservation import AHEAD_S, Count, Reservation
from poolhouse.pipeline.store import ABSENT

#: Exchanges with storage that a call waits for at the most: one that it joins, its own, and another one where two
#: instances wrote at the same time.
_EXCHANGES = 3
#: How long it waits for one to begin, in seconds: two writes of an object are a second apart.
_BEGINS_S = 1.5
#: How long it waits for each in all, in seconds: from then on storage counts as down.
_WAIT_S = 3.0

_log = structlog.get_logger("poolhouse.api.quota")


@dataclass(frozen=True)
class Window:
    """A kind of window that calls are counted in, by the clock of UTC."""

    name: str
    length: timedelta
    #: How one is written in the names of objects.
    form: str

    def of(self, now: datetime) -> str:
        """Return the name of the window that a time is in."""
        return now.astimezone(UTC).strftime(self.form)

    def ends(self, now: datetime) -> datetime:
        """Return when that window is over."""
        return _EPOCH + ((now - _EPOCH) // self.length + 1) * self.length


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = Window("day", timedelta(days=1), "%Y-%m-%d")
MINUTE = Window("minute", timedelta(minutes=1), "%Y-%m-%dT%H%M")


class QuotaExceeded(Exception):
    """A call is one too many."""

    def __init__(self, *, used_up: bool, retry_after_s: int, resets_at: datetime) -> None:
        """Say when to come back.

        Args:
            used_up: whether none is left in the window; otherwise other instances have reserved what is left.
            retry_after_s: when a call may be let through again, in seconds.
            resets_at: when the quota starts anew.
        """
        super().__init__(used_up, retry_after_s, resets_at)
        self.used_up = used_up
        self.retry_after_s = retry_after_s
        self.resets_at = resets_at


@dataclass
class _Current:
    """The present window of this instance."""

    name: str
    reservation: Reservation
    #: In the name of its object. Another one for each window, so that a clock that is set back joins no earlier count.
    instance: str = field(default_factory=lambda: secrets.token_hex(8))
    generation: int = ABSENT
    waiting: int = 0
    exchange: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None


class Quota:
    """Counts the calls of one caller. Used on the event loop alone."""

    def __init__(
        self,
        calls: int,
        window: Window,
        *,
        caller: str,
        store: QuotaStore,
        run: Callable[..., Awaitable[Counts]],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Call nothing yet.

        Args:
            calls: the most of all instances in a window.
            window: how long that is.
            caller: part of the names of its objects.
            store: where the instances' counts are.
            run: makes a call of storage, on a thread.
            now: the clock that says which window it is.
            monotonic: seconds that only grow.
        """
        self.calls, self.window = calls, window
        self._caller = caller
        self._store = store
        self._run = run
        self._now = now
        self._monotonic = monotonic
        self._chance = random.Random(secrets.randbits(64))
        self._current: _Current | None = None
        self._closed = False

    async def take(self) -> None:
        """Count a call. Raises `QuotaExceeded` where it is one too many."""
        current = self._present()
        reservation = current.reservation
        for _ in range(_EXCHANGES):
            if reservation.use():
                self._plan(current)
                return
            if reservation.failing:
                break
            if not await self._wait(current):
                break
        if reservation.use() or (reservation.failing and reservation.use_unreserved()):
            self._plan(current)
            return
        self._plan(current)
        now = self._now()
        left_s = (self.window.ends(now) - now).total_seconds()
        # What other instances have reserved and do not use, they give back.
        soon_s = left_s if reservation.used_up else min(AHEAD_S, left_s)
        raise QuotaExceeded(
            used_up=reservation.used_up, retry_after_s=max(1, math.ceil(soon_s)), resets_at=self.window.ends(now)
        )

    def headers(self) -> dict[str, str]:
        """Return what an answer says of the quota (IETF draft, RateLimit header fields for HTTP)."""
        now, name = self._now(), self.window.name
        left = self._present().reservation.remaining
        return {
            "ratelimit-policy": f'"{name}";q={self.calls};w={self.window.length // timedelta(seconds=1)}',
            "ratelimit": f'"{name}";r={left};t={math.ceil((self.window.ends(now) - now).total_seconds())}',
        }

    async def close(self) -> None:
        """Write what was used, and give back the rest; what storage does not take counts as used in the window."""
        self._closed = True
        current = self._current
        if current is None:
            return
        if current.timer is not None:
            current.timer.cancel()
        if current.exchange is not None:
            await current.exchange
        if current.reservation.unwritten:
            await self._write(current, current.reservation.give_back())

    def _present(self) -> _Current:
        name, before = self.window.of(self._now()), self._current
        if before is None or before.name != name:
            self._current = _Current(name, Reservation(self.calls, chance=self._chance))
            if before is not None:
                if before.timer is not None:
                    before.timer.cancel()
                if before.reservation.failing:  # no reason to wait for storage again
                    self._current.reservation.give_up(self._monotonic())
            return self._current
        return before

    async def _wait(self, current: _Current) -> bool:
        """Wait for what the next exchange brings; returns whether there is a need for one now."""
        current.waiting += 1
        try:
            due_s = current.reservation.due_s(waiting=current.waiting)
            if current.exchange is None:
                if due_s is None or due_s - self._monotonic() > _BEGINS_S:
                    return False
                self._begin(current, after_s=due_s - self._monotonic())
            assert current.exchange is not None
            done, _ = await asyncio.wait({current.exchange}, timeout=_WAIT_S)
            if not done:
                current.reservation.give_up(self._monotonic())
            return True
        finally:
            current.waiting -= 1

    def _plan(self, current: _Current) -> None:
        """See to it that the next exchange is made, if there is to be one."""
        if current.exchange is not None or self._closed:
            return
        due_s = current.reservation.due_s(waiting=current.waiting)
        if due_s is None:
            return
        after_s = due_s - self._monotonic()
        if after_s <= 0:
            self._begin(current)
        elif current.timer is None or current.timer.when() > asyncio.get_running_loop().time() + after_s:
            if current.timer is not None:
                current.timer.cancel()
            current.timer = asyncio.get_running_loop().call_later(after_s, self._begin, current)

    def _begin(self, current: _Current, *, after_s: float = 0) -> None:
        if current.timer is not None:
            current.timer.cancel()
            current.timer = None
        if current.exchange is None:
            current.exchange = asyncio.get_running_loop().create_task(self._exchange(current, after_s=after_s))
            current.exchange.add_done_callback(lambda _: self._ended(current))

    def _ended(self, current: _Current) -> None:
        current.exchange = None
        if current is self._current:
            self._plan(current)

    async def _exchange(self, current: _Current, *, after_s: float = 0) -> None:
        if after_s > 0:
            await asyncio.sleep(after_s)
        await self._write(current, current.reservation.begin(self._monotonic(), waiting=current.waiting))

    async def _write(self, current: _Current, count: Count | None) -> None:
        reservation = current.reservation
        try:
            counts = await self._run(
                self._store.exchange, current.name, self._caller, current.instance, count, generation=current.generation
            )
        except PoolhouseError as error:
            reservation.fail(self._monotonic())
            _log.warning("a quota waits for storage", caller=self._caller, error=str(error))
            return
        current.generation = counts.generation
        reservation.end(self._monotonic(), mine=counts.mine, others=counts.others)


def declared(
    access: ApiAccess,
    *,
    store: QuotaStore,
    run: Callable[..., Awaitable[Counts]],
    now: Callable[[], datetime],
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, list[Quota]]:
    """Return what rules declare, by caller, the shortest window first. Args: as of `Quota`."""
    found: dict[str, list[Quota]] = {}
    for window, calls in ((MINUTE, access.shared_rates), (DAY, access.quotas)):
        for caller, most in calls.items():
            quota = Quota(most, window, caller=caller, store=store, run=run, now=now, monotonic=monotonic)
            found.setdefault(caller, []).append(quota)
    return found
