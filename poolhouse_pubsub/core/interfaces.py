"""What may be plugged into an emulator: a journal that makes changes durable, and a source of faults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from poolhouse_pubsub.core.leases import Entry
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.snapshots import Snapshot
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.core.topic import Topic


class FaultInjector(Protocol):
    """Where injected faults touch the core (`poolhouse_pubsub.control.faults`)."""

    def shuffle(self, subscription: Subscription, batch: list[Entry], now: float) -> list[Entry]:
        """Change a batch before it is delivered."""


class Journal(Protocol):
    """Where changes are recorded (`poolhouse_pubsub.persistence.storage`)."""

    def put(self, kind: str, name: str, uid: str, config: bytes) -> None:
        """Record a resource that was created or changed."""

    def drop(self, kind: str, name: str) -> None:
        """Record the deletion of a resource."""

    def published(self, topic: Topic, messages: Sequence[Message], takers: Sequence[Sequence[str]]) -> None:
        """Record published messages; `takers` has the uids of the subscriptions that got each."""

    def write(self) -> None:
        """Write everything since the last call, without flushing: what is recorded may not have taken effect yet.

        Raises:
            StatusError: UNAVAILABLE, the write failed; the records stay queued.
        """

    def take_back(self) -> None:
        """Drop the last record, whose write failed: it did not take effect."""

    def left(self, uid: str, message: Message) -> None:
        """Record that a message left a subscription."""

    def retained(self, uid: str, message: Message) -> None:
        """Record the ack of a message that the subscription keeps for a seek."""

    def failed(self, uid: str, message: Message, failures: int) -> None:
        """Record a failed delivery."""

    def replaced(self, uid: str, unacked: Sequence[Message], retained: Iterable[Message]) -> None:
        """Record the messages that are unacked after a seek."""

    def captured(self, snapshot: Snapshot) -> None:
        """Record a new snapshot."""

    def commit(self) -> None:
        """Make everything since the last call durable, before it is acknowledged."""
