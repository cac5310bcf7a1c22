"""Ordering keys: one line of messages for each key, delivered in publish order.

Rules (Order messages, https://cloud.google.com/pubsub/docs/ordering): what is outstanding of a key is with one stream;
a further Pull gets nothing of a key that has outstanding messages; a push endpoint has one message of a key at a time;
when a message fails, it and every later one of its key come again in order, even if acked before their turn.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator

from poolhouse_pubsub.core.leases import Consumer, Entry, Mode, State
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.unordered import Budget

#: Keys without messages whose stream is remembered, so that they come back to it.
_REMEMBERED_KEYS = 10_000


class Line:
    """The unfinished messages of one key.

    `entries[:cursor]` were delivered and wait for their acks, `entries[cursor:]` have yet to be delivered.
    """

    __slots__ = ("base", "blocked_until", "cursor", "entries", "key", "listed", "owner")

    def __init__(self, key: str, *, owner: str | None) -> None:
        self.key = key
        self.entries: deque[Entry] = deque()
        #: Position of `entries[0]` in the life of the line.
        self.base = 0
        self.cursor = 0
        #: Token of the stream that this key's messages go to, also while it is closed.
        self.owner = owner
        #: Nothing is delivered before this moment (retry backoff); 0 when not blocked.
        self.blocked_until = 0.0
        #: Whether it stands in one of the lane's queues.
        self.listed = False


class OrderedLane:
    """All lines of a subscription that has message ordering."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._free: deque[Line] = deque()
        self._owned: dict[str, deque[Line]] = {}
        self._remembered: OrderedDict[str, str] = OrderedDict()
        #: Messages that have yet to be delivered (or delivered again).
        self.pending = 0

    def __bool__(self) -> bool:
        """Whether any line may have something to deliver."""
        return bool(self._free) or any(self._owned.values())

    def connect(self, client_id: str) -> str:
        """Note that a stream opened; it takes over the keys of a closed one of the same client.

        A client may open several streams with one client id: each has a place of its own, the lowest that is free.

        Returns:
            Its token, for `disconnect`.
        """
        places = (f"{client_id}#{place}" for place in itertools.count())
        token = next(token for token in places if token not in self._owned)
        self._owned[token] = deque()
        for line in self._lines.values():
            if line.owner == token:
                self._place(line)
        return token

    def disconnect(self, token: str) -> None:
        """Note that a stream closed; its keys move on once nothing of them is outstanding."""
        for line in self._owned.pop(token):
            line.listed = False
            self._place(line)

    def add(self, messages: Iterable[Message]) -> None:
        """Append published messages that have an ordering key."""
        for message in messages:
            line = self._lines.get(message.key)
            if line is None:
                line = Line(message.key, owner=self._remembered.pop(message.key, None))
                self._lines[message.key] = line
            entry = Entry(message)
            entry.line = line
            entry.position = line.base + len(line.entries)
            line.entries.append(entry)
            self.pending += 1
            self._place(line)

    def _place(self, line: Line) -> None:
        """List a line where the consumers that may take from it look for it."""
        if line.listed or line.blocked_until or line.cursor >= len(line.entries):
            return
        if line.owner in self._owned:
            self._owned[line.owner].append(line)
            line.listed = True
        elif line.cursor == 0:
            line.owner = None
            self._free.append(line)
            line.listed = True

    def take(self, consumer: Consumer, budget: Budget) -> list[Entry]:
        """Take the next entries of the lines that this consumer may have."""
        taken: list[Entry] = []
        sources = [self._free]
        if consumer.mode is Mode.STREAM:
            sources.insert(0, self._owned[consumer.token])
        for source in sources:
            while source and budget.open:
                line = source.popleft()
                line.listed = False
                if line.blocked_until or line.cursor >= len(line.entries):
                    continue  # blocked or emptied since it was listed
                count = self._take_line(line, consumer, budget, taken)
                if consumer.mode is Mode.STREAM and count:
                    line.owner = consumer.token
                self._place(line)
                if count == 0:
                    return taken
        return taken

    def _take_line(self, line: Line, consumer: Consumer, budget: Budget, taken: list[Entry]) -> int:
        before = line.cursor
        while line.cursor < len(line.entries):
            entry = line.entries[line.cursor]
            if not budget.spend(len(entry.message.wire)):
                break
            taken.append(entry)
            line.cursor += 1
            if consumer.mode is Mode.PUSH:
                break
        self.pending -= line.cursor - before
        return line.cursor - before

    def in_turn(self, entry: Entry) -> bool:
        """Whether all earlier messages of the key are acked."""
        return bool(entry.line.entries[0] is entry)

    def settle(self, entry: Entry) -> list[Entry]:
        """Mark a delivered entry as acked; returns those of its line that are finished by it, in order."""
        entry.state = State.ACKED
        return self._trim(entry.line)

    def _trim(self, line: Line) -> list[Entry]:
        finished = []
        while line.entries and line.entries[0].state is State.ACKED:
            finished.append(line.entries.popleft())
            line.base += 1
            line.cursor -= 1
        if not line.entries:
            del self._lines[line.key]
            if line.owner is not None:
                self._remembered[line.key] = line.owner
                if len(self._remembered) > _REMEMBERED_KEYS:
                    self._remembered.popitem(last=False)
        elif finished:
            self._place(line)
        return finished

    def rewind(self, entry: Entry, *, until: float) -> list[Entry]:
        """Take a delivered entry and all later ones of its line back, to be delivered again in order.

        Args:
            entry: The one that failed.
            until: The line waits until this moment; 0 for not at all.

        Returns:
            The entries whose leases the caller has to end.
        """
        line = entry.line
        index = entry.position - line.base
        back = [line.entries[place] for place in range(index, line.cursor)]
        self.pending += line.cursor - index
        line.cursor = index
        if until:
            line.blocked_until = max(line.blocked_until, until)
        else:
            self._place(line)
        return back

    def unblock(self, line: Line) -> None:
        """End a line's backoff."""
        line.blocked_until = 0.0
        self._place(line)

    def drop_before(self, before_us: int) -> list[Entry]:
        """Take out all entries published before a moment: the front of each line, since lines are in publish order.

        Returns:
            They, with the state that they had, and those that were acked before their turn and are finished by it.
        """
        dropped: list[Entry] = []
        for line in list(self._lines.values()):
            while line.entries and line.entries[0].message.published_us < before_us:
                if line.cursor == 0:
                    line.cursor = 1
                    self.pending -= 1
                entry = line.entries[0]
                was = entry.state
                dropped.extend(self.settle(entry))
                entry.state = was
        return dropped

    def clear(self) -> None:
        """Empty all lines; streams stay connected."""
        self._lines.clear()
        self._free.clear()
        for queue in self._owned.values():
            queue.clear()
        self.pending = 0

    def __iter__(self) -> Iterator[Entry]:
        for line in self._lines.values():
            yield from line.entries
