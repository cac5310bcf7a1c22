"""How much may be taken at once, and the lane of messages without an ordering key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from poolhouse_pubsub.core.leases import Entry, State
from poolhouse_pubsub.core.message import Message


class Budget:
    """What one response may still carry.

    Args:
        messages: Most messages.
        room_bytes: The consumer's own limit: taking stops once it is reached, so one message may exceed it.
        cap_bytes: Size of a response: the first message always fits, no other may exceed it.
    """

    __slots__ = ("_any", "cap_bytes", "messages", "room_bytes")

    def __init__(self, *, messages: int, room_bytes: int, cap_bytes: int) -> None:
        self.messages = messages
        self.room_bytes = room_bytes
        self.cap_bytes = cap_bytes
        self._any = False

    @property
    def open(self) -> bool:
        """Whether anything may be taken at all."""
        return self.messages > 0 and self.room_bytes > 0

    def spend(self, size_bytes: int) -> bool:
        """Book one message; False when it has to wait for the next response."""
        if self.messages <= 0 or self.room_bytes <= 0 or (self._any and size_bytes > self.cap_bytes):
            return False
        self._any = True
        self.messages -= 1
        self.room_bytes -= size_bytes
        self.cap_bytes -= size_bytes
        return True


class UnorderedLane:
    """Messages that any consumer may get at any time: oldest first, what failed before in turn with what is new."""

    def __init__(self) -> None:
        #: Never delivered: bare messages, since a million of them wait at times.
        self.fresh: deque[Message] = deque()
        #: To be delivered again. May hold entries that are done: they are left out when their turn comes.
        self._again: deque[Entry] = deque()
        self._again_live = 0
        self._fresh_turn = False

    def __len__(self) -> int:
        """How many messages can be delivered now."""
        return len(self.fresh) + self._again_live

    def add(self, messages: Iterable[Message]) -> None:
        """Append published messages."""
        self.fresh.extend(messages)

    def put_back(self, entry: Entry) -> None:
        """Make an entry deliverable again."""
        entry.state = State.READY
        self._again.append(entry)
        self._again_live += 1

    def forget(self, entry: Entry) -> None:
        """Count out an entry that was waiting here and is done."""
        assert entry.state is State.READY
        entry.state = State.DONE
        self._again_live -= 1

    def take(self, budget: Budget) -> list[Entry]:
        """Take entries out, for whichever consumer."""
        taken: list[Entry] = []
        fresh, again = self.fresh, self._again
        spend = budget.spend
        while True:
            # In turn, so that a message that fails every time can't keep the others waiting.
            if again and not (self._fresh_turn and fresh):
                entry = again[0]
                if entry.state is not State.READY:
                    again.popleft()
                    continue
                if not spend(len(entry.message.wire)):
                    return taken
                again.popleft()
                self._again_live -= 1
                self._fresh_turn = True
                taken.append(entry)
            elif fresh:
                if not spend(len(fresh[0].wire)):
                    return taken
                self._fresh_turn = False
                taken.append(Entry(fresh.popleft()))
            else:
                return taken

    def drop_fresh(self, before_us: int) -> list[Message]:
        """Take out the never delivered messages that were published before a moment."""
        dropped = []
        while self.fresh and self.fresh[0].published_us < before_us:
            dropped.append(self.fresh.popleft())
        return dropped

    def clear(self) -> None:
        """Empty the lane."""
        self.fresh.clear()
        self._again.clear()
        self._again_live = 0

    def waiting(self) -> Iterator[Message]:
        """Return the never delivered messages, oldest first."""
        return iter(self.fresh)
