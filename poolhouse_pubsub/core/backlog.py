"""The unfinished messages of one subscription: which can be delivered, which wait, and until when."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence

from poolhouse_pubsub.core.leases import Consumer, Entry, State
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.ordering import Line, OrderedLane
from poolhouse_pubsub.core.timers import NEVER
from poolhouse_pubsub.core.unordered import Budget, UnorderedLane


class Backlog:
    """Both lanes, what was delivered from them, and the delays. Leases are the subscription's concern."""

    def __init__(self) -> None:
        self.lane = UnorderedLane()
        self.lines = OrderedLane()
        #: Entries that were delivered at least once and stand in no ordered line, by message id.
        self.delivered: dict[int, Entry] = {}
        self._delays: list[tuple[float, int, Entry | Line]] = []
        self._delayed = 0
        self._numbers = itertools.count()

    def __bool__(self) -> bool:
        """Whether anything may be ready to be delivered."""
        return bool(len(self.lane) or self.lines)

    def add(self, messages: Sequence[Message], *, ordered: bool) -> None:
        """Take published messages.

        Args:
            messages: In publish order.
            ordered: Whether those with an ordering key are delivered in order.
        """
        if ordered:
            keyed = [message for message in messages if message.key]
            if keyed:
                self.lines.add(keyed)
                messages = [message for message in messages if not message.key]
        if messages:
            self.lane.add(messages)

    def restore_failures(self, failures: Mapping[int, int]) -> None:
        """Give messages that wait in the unordered lane the failures they had before a restart."""
        fresh = list(self.lane.fresh)
        self.lane.fresh.clear()
        for message in fresh:
            if message.id in failures:
                entry = Entry(message, failures=failures[message.id])
                self.delivered[message.id] = entry
                self.lane.put_back(entry)
            else:
                self.lane.fresh.append(message)
        for entry in self.lines:
            entry.failures = failures.get(entry.message.id, 0)

    def take(self, consumer: Consumer, budget: Budget) -> list[Entry]:
        """Take out what a consumer may have; the caller leases it, and puts what has no line into `delivered`."""
        taken = self.lines.take(consumer, budget) if self.lines else []
        if budget.open and len(self.lane):
            taken += self.lane.take(budget)
        return taken

    def put_back(self, entry: Entry, *, until: float) -> list[Entry]:
        """Make a delivered entry ready again, at once (0) or at a moment.

        Returns:
            It and the later ones of its line, which come again with it and whose leases the caller has to end.
        """
        if entry.line is not None:
            back = self.lines.rewind(entry, until=until)
            if until:
                heapq.heappush(self._delays, (until, next(self._numbers), entry.line))
            return back
        if until:
            entry.state = State.DELAYED
            entry.deadline = until
            self._delayed += 1
            heapq.heappush(self._delays, (until, next(self._numbers), entry))
        else:
            self.lane.put_back(entry)
        return []

    def unlist(self, entry: Entry) -> None:
        """Take an entry without a line out of where it waits."""
        if entry.state is State.READY:
            self.lane.forget(entry)
        elif entry.state is State.DELAYED:
            self._delayed -= 1
            entry.state = State.DONE

    @property
    def next_due(self) -> float:
        """When the next delay may end, NEVER without one."""
        return self._delays[0][0] if self._delays else NEVER

    def end_delays(self, now: float) -> None:
        """Make ready what waited until now."""
        delays = self._delays
        while delays and delays[0][0] <= now:
            due, _, waiting = heapq.heappop(delays)
            if isinstance(waiting, Line):
                if waiting.blocked_until and waiting.blocked_until <= due:
                    self.lines.unblock(waiting)
            elif waiting.state is State.DELAYED:
                self._delayed -= 1
                self.lane.put_back(waiting)

    def drop_before(self, before_us: int) -> tuple[list[Message], list[Entry]]:
        """Find what was published before a moment.

        Returns:
            Messages that were never delivered, taken out, and entries that the caller has to end, or to finish where
            they are acked.
        """
        entries = self.lines.drop_before(before_us)
        entries += [entry for entry in self.delivered.values() if entry.message.published_us < before_us]
        return self.lane.drop_fresh(before_us), entries

    def clear(self) -> None:
        """Empty it."""
        self.lane.clear()
        self.lines.clear()
        self.delivered.clear()
        self._delays.clear()
        self._delayed = 0

    def __iter__(self) -> Iterator[Entry]:
        """Every entry: delivered at least once, or in an ordered line."""
        return itertools.chain(self.lines, self.delivered.values())

    def fresh(self) -> Iterator[Message]:
        """Return the messages that were never delivered and stand in no ordered line."""
        return self.lane.waiting()

    def messages(self) -> list[Message]:
        """All of them, in publish order."""
        return sorted(itertools.chain((entry.message for entry in self), self.fresh()), key=lambda message: message.id)

    def oldest_us(self) -> int | None:
        """Publish time of the oldest message, microseconds since the epoch; None without one."""
        times = [entry.message.published_us for entry in self]
        if self.lane.fresh:
            times.append(self.lane.fresh[0].published_us)
        return min(times, default=None)

    @property
    def waiting(self) -> int:
        """Messages that are with no consumer, but for those without a key that wait for the end of a backoff."""
        return len(self.lane) + self.lines.pending

    @property
    def ready(self) -> int:
        """Messages that could be delivered now."""
        return self.waiting - (self.delayed - self._delayed)

    @property
    def delayed(self) -> int:
        """Messages that wait for the end of a backoff (of an ordered line: all that wait behind it)."""
        blocked = {id(line): line for _, _, line in self._delays if isinstance(line, Line) and line.blocked_until}
        return self._delayed + sum(len(line.entries) - line.cursor for line in blocked.values())
