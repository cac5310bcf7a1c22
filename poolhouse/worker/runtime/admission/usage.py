"""What of a shared limit is in use in this process: tasks that run, and starts whose span is not over."""

from __future__ import annotations

import heapq
from collections import deque
from datetime import UTC, datetime, timedelta

from poolhouse.pipeline.limits.shares import CLOCK_MARGIN, Cooling, Need, Rule

#: A delivery that comes again later does so after this share of the time that it would wait by our guess.
COMES_AGAIN = 0.5
#: Soonest and latest time after which one comes again, in seconds.
SOONEST_S, LATEST_S = 5.0, 500.0
#: Groups that the starts of a span are told in.
_GROUPS = 20


class Usage:
    """Counts; changed under the lock of its gate."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        #: Tasks that were admitted and have not ended.
        self.running = 0
        #: Those of them whose handler has not been called.
        self.starting = 0
        #: Starts whose span is not over, the oldest first; as of the last call of `busy`.
        self.started: deque[datetime] = deque()
        #: When the last task ended.
        self.used_at = datetime.min.replace(tzinfo=UTC)
        self._entered: deque[datetime] = deque()
        self._task_s = 1.0
        #: When those come again that were put off, a heap.
        self._later: list[datetime] = []

    def enter(self, now: datetime) -> None:
        """A task was admitted."""
        self.running += 1
        self.starting += 1
        self._entered.append(now)

    def start(self, now: datetime) -> None:
        """Its handler is called."""
        self.starting -= 1
        if self._rule.rate is not None:
            self.started.append(now)

    def leave(self, now: datetime, *, started: bool) -> None:
        """It has ended."""
        self.running -= 1
        if not started:
            self.starting -= 1
        self.used_at = now
        took_s = (now - self._entered.popleft()).total_seconds()  # of some task: good enough for a guess
        self._task_s += (max(0.0, took_s) - self._task_s) / 8

    def busy(self, now: datetime) -> tuple[int, int]:
        """Slots and starts in use."""
        while self.started and self.started[0] + self._rule.span <= now:
            self.started.popleft()
        return self.running, self.starting + len(self.started)

    def needs(self, now: datetime, *, waiting: int) -> tuple[Need, Need]:
        """Slots and starts that are in use, and that could be used."""
        slots, starts = self.busy(now)
        rule = self._rule
        return (
            Need(slots, max(slots, min(rule.slots, slots + waiting))) if rule.slots else Need(),
            Need(starts, max(starts, min(rule.rate.starts, starts + waiting))) if rule.rate else Need(),
        )

    def cooling(self) -> list[Cooling]:
        """The starts whose span is not over, in a few groups, each as of its last one."""
        groups: dict[int, Cooling] = {}
        group_s = max(1.0, self._rule.span.total_seconds() / _GROUPS)
        for at in self.started:
            free_at = at + self._rule.span + CLOCK_MARGIN
            known = groups.get(key := int(free_at.timestamp() // group_s))
            groups[key] = Cooling(free_at=free_at, count=1 + (known.count if known else 0))
        return list(groups.values())

    def put_off_s(self, now: datetime, *, slots: int, starts: int, sharing: int, waiting: int) -> float:
        """Seconds after which one more delivery is to come again.

        Args:
            slots: those that this process holds.
            starts: likewise.
            sharing: the processes that share the limit.
            waiting: the deliveries that wait before it.
        """
        while self._later and self._later[0] <= now:
            heapq.heappop(self._later)
        each_s = 0.0
        if self._rule.slots is not None:
            each_s = self._task_s / (slots or max(1, self._rule.slots // sharing))
        if self._rule.rate is not None:
            each_s = max(each_s, self._rule.rate.span_s / (starts or max(1, self._rule.rate.starts // sharing)))
        after_s = min(LATEST_S, max(SOONEST_S, COMES_AGAIN * each_s * (waiting + len(self._later))))
        heapq.heappush(self._later, now + timedelta(seconds=after_s))
        return after_s
