"""How instances of the API share a quota: so many calls in a window of time. Pure: no I/O, no clock.

Each instance has an object of its own that says how many calls it has *reserved*. It lets a call through only if that
is reserved: it first writes a larger number, then lists the objects of all, and takes as much of what it wrote as the
quota has left beside what the others have reserved. Of any instances the one that listed last has seen what all others
may use, so together they never use more than the quota. That holds whatever their clocks say, and where one is killed:
what it had reserved is not given to others.

No object has two writers. A write is conditional on the generation that was listed last, so one that takes effect long
after it failed can't replace a later one; and what counts is the number that is listed, not the one that was sent.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

#: Least time between two writes of an instance for one quota, in seconds (Cloud Storage, Quotas: one write a second of
#: one object).
WRITE_EVERY_S = 1.0
#: How far ahead an instance reserves, in seconds; and how often it writes what it has used while it need not reserve.
AHEAD_S = 10.0
#: Pause after a storage error, in seconds: until then calls do not wait for storage.
PAUSE_S = 10.0
#: Calls that an instance in use reserves at the least, as far as there are some: so many, or this part of what is left.
LEAST = 10
LEAST_PART = 64


@dataclass(frozen=True)
class Count:
    """What an instance's object says."""

    used: int = 0
    reserved: int = 0


class Reservation:
    """What one instance has of a quota in one window."""

    def __init__(self, quota: int, *, chance: random.Random) -> None:
        """Reserve nothing yet.

        Args:
            quota: the most calls of all instances together.
            chance: keeps instances that collided from doing so again.
        """
        self.quota = quota
        self._chance = chance
        #: Calls let through.
        self.used = 0
        #: Calls that may be let through, those included.
        self._reserved = 0
        #: What this instance's object said when it was last listed, and what the others' did together.
        self._written = Count()
        self._elsewhere = self._used_elsewhere = self._sharing = 0
        #: Calls beyond those used that were reserved last.
        self._block = 0
        self._counted, self._counted_at_s = 0, -math.inf
        self._wrote_at_s = self._looked_at_s = self._not_before_s = -math.inf
        #: Of the exchange that has begun: whether it writes, and whether calls waited for it from its beginning.
        self._writing = self._awaited = False
        #: Whether storage did not answer the last time that a call waited for it.
        self.failing = False

    @property
    def remaining(self) -> int:
        """Calls that are left, as far as known: neither used here nor reserved elsewhere."""
        return max(0, self.quota - self.used - self._elsewhere)

    @property
    def used_up(self) -> bool:
        """Whether the window has nothing left for certain: nothing that others reserved can come back."""
        return self.used + self._used_elsewhere >= self.quota

    @property
    def unwritten(self) -> bool:
        """Whether this instance's object says anything else than that so many calls were used."""
        return self._written != Count(self.used, self.used)

    def use(self) -> bool:
        """Let a call through, if one is reserved; returns whether it is."""
        if self.used >= self._reserved:
            return False
        self.used += 1
        return True

    def use_unreserved(self) -> bool:
        """Let a call through while storage does not answer, by what is known; returns whether it may be."""
        if self.remaining <= 0:
            return False
        self.used += 1
        self._reserved = max(self._reserved, self.used)
        return True

    def due_s(self, *, waiting: int) -> float | None:
        """Return when to exchange counts with the others; None: there is no need.

        Args:
            waiting: calls that wait for a reservation.
        """
        earliest = max(self._wrote_at_s + WRITE_EVERY_S, self._not_before_s)
        low = 2 * (self._reserved - self.used) < self._block and self.remaining > self._reserved - self.used
        if self.failing:
            return self._not_before_s
        if waiting and not self.used_up and self.remaining <= 0:
            return max(earliest, self._looked_at_s + AHEAD_S)
        if (waiting and self.remaining > 0) or (low and not self.used_up):
            return earliest
        if self.unwritten:
            return max(earliest, self._wrote_at_s + AHEAD_S)
        return None

    def begin(self, now_s: float, *, waiting: int) -> Count | None:
        """Begin an exchange; returns what to write, None: only list.

        What is given back is no longer used from here on, before the write says so.
        """
        self._awaited, self._writing = waiting > 0, False
        recent = self.used - self._counted
        per_s = recent / max(1.0, now_s - self._counted_at_s)
        self._counted, self._counted_at_s = self.used, now_s
        self._block = self._size(math.ceil(per_s * AHEAD_S), waiting) if recent or waiting else 0
        count = Count(self.used, self.used + self._block)
        if count == self._written:
            return None
        self._reserved = max(self.used, min(self._reserved, count.reserved))
        self._writing = True
        return count

    def give_back(self) -> Count:
        """End the use of what is reserved; returns what to write."""
        self._reserved = self.used
        return Count(self.used, self.used)

    def end(self, now_s: float, *, mine: Count, others: Sequence[Count]) -> None:
        """End an exchange with what is listed, after the write."""
        self._written = mine
        self._elsewhere = sum(count.reserved for count in others)
        self._used_elsewhere = sum(count.used for count in others)
        self._sharing = sum(count.reserved > count.used for count in others)
        self._looked_at_s, self.failing = now_s, False
        if self._writing:
            self._wrote_at_s = now_s
        self._reserved = max(self.used, min(mine.reserved, self.quota - self._elsewhere))
        if self._reserved < mine.reserved:  # what is too much is given back by the next write
            self._not_before_s = now_s + WRITE_EVERY_S * self._chance.uniform(1, 1.5)

    def fail(self, now_s: float) -> None:
        """End an exchange that failed; a write may take effect all the same.

        One that no call waited for is repeated first: the process may have had no CPU in the middle of it.
        """
        if self._awaited or self.failing:
            self.give_up(now_s)
        else:
            self._not_before_s = now_s + WRITE_EVERY_S

    def give_up(self, now_s: float) -> None:
        """Let calls go by what is known for a while: storage is down."""
        self.failing = True
        self._not_before_s = now_s + PAUSE_S

    def _size(self, expected: int, waiting: int) -> int:
        """Return how many calls to have reserved ahead.

        No more than an even share of what is left, with one share for an instance that comes next.
        """
        share = math.ceil(self.remaining / (self._sharing + 2))
        wanted = max(expected + waiting, LEAST, self.remaining // LEAST_PART)
        return max(min(wanted, share), min(waiting, self.remaining))
