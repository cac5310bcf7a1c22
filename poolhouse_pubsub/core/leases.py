"""Who holds which message until when: ack ids, deadlines, and the room each consumer has left."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from enum import Enum
from typing import Any

from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.timers import NEVER


class State(Enum):
    """Where an entry stands."""

    READY = 0
    LEASED = 1
    #: Waits for the end of its retry backoff.
    DELAYED = 2
    #: Acked before an earlier message of its ordering key was: counts once that one is acked.
    ACKED = 3
    #: Out of the backlog.
    DONE = 4


class Mode(Enum):
    """How a consumer takes messages; it decides what it may get of an ordering key (Order messages)."""

    PULL = "pull"
    STREAM = "stream"
    PUSH = "push"


class Consumer:
    """One taker of a subscription's messages: a waiting Pull, an open stream, or a loop that pushes or exports.

    Args:
        mode: Which of the three.
        token: Its identity for ordering: a stream's client id; once it is connected, that of this one of its streams.
        deliver: Called with a batch of leased entries.
        max_messages: Most messages it holds unacked; 0 for no limit.
        max_bytes: It gets no more once it holds this many bytes; 0 for no limit.
        ack_deadline_s: Overrides the subscription's deadline for what it gets.
    """

    __slots__ = (
        "ack_deadline_s",
        "deliver",
        "held_bytes",
        "held_messages",
        "max_bytes",
        "max_messages",
        "mode",
        "ready",
        "token",
    )

    def __init__(
        self,
        mode: Mode,
        *,
        token: str,
        deliver: Callable[[list[Entry]], None],
        max_messages: int = 0,
        max_bytes: int = 0,
        ack_deadline_s: float | None = None,
    ) -> None:
        self.mode = mode
        self.token = token
        self.deliver = deliver
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.ack_deadline_s = ack_deadline_s
        self.held_messages = 0
        self.held_bytes = 0
        #: Cleared by the shell while its outgoing buffer is full.
        self.ready = True

    @property
    def has_room(self) -> bool:
        """Whether it may get at least one message now."""
        return (
            self.ready
            and (self.max_messages <= 0 or self.held_messages < self.max_messages)
            and (self.max_bytes <= 0 or self.held_bytes < self.max_bytes)
        )


class Entry:
    """A message of one subscription that was delivered at least once, or waits in an ordered line."""

    __slots__ = (
        "ack_id",
        "consumer",
        "copy",
        "deadline",
        "failures",
        "heap_at",
        "line",
        "message",
        "position",
        "state",
    )

    def __init__(self, message: Message, *, failures: int = 0, copy: bool = False) -> None:
        self.message = message
        #: Nacks and deadline expiries so far; 1 + this is the delivery attempt.
        self.failures = failures
        self.state = State.READY
        #: Of the latest delivery, "" before the first.
        self.ack_id = ""
        #: End of the lease, or of the backoff while delayed, seconds since the epoch.
        self.deadline = 0.0
        #: Earliest place of this entry in the deadline heap; NEVER when it has none.
        self.heap_at = NEVER
        self.consumer: Consumer | None = None
        #: The ordered line it stands in, and its place there.
        self.line: Any = None
        self.position = 0
        #: A second copy made by the duplicate fault: it may be dropped.
        self.copy = copy

    @property
    def attempt(self) -> int:
        """The number of this delivery, from 1."""
        return self.failures + 1

    def ready_at(self, now: float) -> float:
        """When it can be delivered next while it waits; `now` when it can be at once."""
        if self.line is not None:
            return float(self.line.blocked_until) or now
        return self.deadline if self.state is State.DELAYED else now


class Leases:
    """The leases of one subscription.

    Args:
        uid: Identity of the subscription; ack ids of another one are recognised by it.
        boot: Which start of the emulator this is, so that ids of an earlier run are never given twice.
    """

    def __init__(self, *, uid: str, boot: int) -> None:
        self._prefix = f"{uid}:{boot}:"
        self._uid = uid
        self._numbers = itertools.count(1)
        self._by_ack_id: dict[str, Entry] = {}
        self._heap: list[tuple[float, int, Entry]] = []
        self.leased = 0

    def grant(self, entry: Entry, *, consumer: Consumer, deadline: float) -> None:
        """Lease a ready entry under a new ack id; its former id stops counting."""
        if entry.ack_id:
            self._by_ack_id.pop(entry.ack_id, None)
        number = next(self._numbers)
        entry.ack_id = ack_id = self._prefix + str(number)
        self._by_ack_id[ack_id] = entry
        entry.state = State.LEASED
        entry.consumer = consumer
        consumer.held_messages += 1
        consumer.held_bytes += len(entry.message.wire)
        self.leased += 1
        self._set_deadline(entry, deadline, number)

    def extend(self, entry: Entry, deadline: float) -> None:
        """Move the end of a lease."""
        self._set_deadline(entry, deadline, next(self._numbers))

    def _set_deadline(self, entry: Entry, deadline: float, number: int) -> None:
        # An entry keeps its early place in the heap when its deadline moves later, and is put back when that comes up:
        # a client that extends ten times costs one push.
        entry.deadline = deadline
        if deadline < entry.heap_at:
            entry.heap_at = deadline
            heapq.heappush(self._heap, (deadline, number, entry))
            if len(self._heap) > 4096 + 4 * self.leased:
                self._rebuild()

    def _rebuild(self) -> None:
        live = [entry for entry in self._by_ack_id.values() if entry.state is State.LEASED]
        for _, _, entry in self._heap:
            entry.heap_at = NEVER
        for entry in live:
            entry.heap_at = entry.deadline
        self._heap = [(entry.deadline, next(self._numbers), entry) for entry in live]
        heapq.heapify(self._heap)

    def end(self, entry: Entry, *, forget: bool) -> None:
        """End a lease and give its consumer the room back.

        Args:
            entry: The entry, which the caller gives its next state.
            forget: Whether its ack id stops counting; otherwise it counts until the next delivery.
        """
        consumer = entry.consumer
        if consumer is not None:
            consumer.held_messages -= 1
            consumer.held_bytes -= len(entry.message.wire)
            entry.consumer = None
            self.leased -= 1
        if forget:
            self.forget(entry)

    def forget(self, entry: Entry) -> None:
        """Make the ack id of an entry's latest delivery stop counting."""
        self._by_ack_id.pop(entry.ack_id, None)

    def find(self, ack_id: str) -> Entry | None:
        """Return the entry whose latest delivery has this ack id, None when there is none any more."""
        return self._by_ack_id.get(ack_id)

    def is_own(self, ack_id: str) -> bool:
        """Whether the id has the form of this subscription's ids."""
        uid, *numbers = ack_id.split(":")
        return uid == self._uid and len(numbers) == 2 and all(map(_is_number, numbers))

    @property
    def next_due(self) -> float:
        """When the next lease may end, NEVER without one (may be too early, never too late)."""
        heap = self._heap
        while heap and heap[0][2].state is not State.LEASED:
            heapq.heappop(heap)[2].heap_at = NEVER
        return heap[0][0] if heap else NEVER

    def pop_expired(self, now: float) -> Entry | None:
        """Return the next entry whose lease is over, still marked as leased."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, number, entry = heapq.heappop(heap)
            entry.heap_at = NEVER
            if entry.state is not State.LEASED:
                continue
            if entry.deadline <= now:
                return entry
            entry.heap_at = entry.deadline
            heapq.heappush(heap, (entry.deadline, number, entry))
        return None

    def clear(self) -> None:
        """End all leases; no ack id given so far counts any more."""
        for entry in list(self._by_ack_id.values()):
            self.end(entry, forget=False)
            entry.state = State.DONE
        self._by_ack_id.clear()
        self._heap.clear()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
