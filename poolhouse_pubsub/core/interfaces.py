"""The seams of the core: what a subscription needs of its emulator, and what may be plugged into an emulator."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from poolhouse_pubsub.core.leases import Entry
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.snapshots import Snapshot
from poolhouse_pubsub.core.topic import Topic

if TYPE_CHECKING:
    from poolhouse_pubsub.core.emulator import Subscribed
    from poolhouse_pubsub.core.subscription import Subscription


class SubscriptionHost(Protocol):
    """What a subscription needs of the emulator that holds it."""

    def woken(self, subscription: "Subscription") -> None:
        """It may have something to deliver to a waiting consumer."""

    def forward(self, subscription: "Subscription", entry: Entry, reason: str) -> bool:
        """Publishes a message that failed too often to the dead-letter topic; False when that can't be had."""

    def left(self, subscription: "Subscription", message: Message) -> None:
        """A message left the backlog for good."""

    def failed(self, subscription: "Subscription", entry: Entry) -> None:
        """A delivery failed (nack or expiry)."""

    def undelivered(self, subscription: "Subscription", reason: str) -> None:
        """A message can't be transformed or exported, after others could, or as the first one."""

    def shuffle(self, subscription: "Subscription", batch: list[Entry]) -> list[Entry]:
        """Lets injected faults change a batch before it is delivered."""


class FaultInjector(Protocol):
    """Where injected faults touch the core (`poolhouse_pubsub.control.faults`)."""

    def shuffle(self, subscription: "Subscribed", batch: list[Entry], now: float) -> list[Entry]:
        """Changes a batch before it is delivered."""


class Journal(Protocol):
    """Where changes are written down (`poolhouse_pubsub.persistence.storage`)."""

    def put(self, kind: str, name: str, uid: str, config: bytes) -> None:
        """A resource was made or changed."""

    def drop(self, kind: str, name: str) -> None:
        """A resource was deleted."""

    def published(self, topic: Topic, messages: Sequence[Message], takers: Sequence[Sequence[str]]) -> None:
        """Messages were published; for each, the uids of the subscriptions that got it."""

    def write(self) -> None:
        """Write down everything since the last call, and nothing else: what is told may not have happened yet.

        Raises:
            StatusError: UNAVAILABLE, it can't be written; it stays to be written.
        """

    def take_back(self) -> None:
        """What was told last, and could not be written, has not happened."""

    def left(self, uid: str, message: Message) -> None:
        """A message left a subscription."""

    def retained(self, uid: str, message: Message) -> None:
        """A message was acked in a subscription that keeps it for a seek."""

    def failed(self, uid: str, message: Message, failures: int) -> None:
        """A delivery of a message failed."""

    def replaced(self, uid: str, unacked: Sequence[Message], retained: Iterable[Message]) -> None:
        """A seek changed what is unacked."""

    def captured(self, snapshot: Snapshot) -> None:
        """A snapshot was made."""

    def commit(self) -> None:
        """Everything since the last call is to be kept before anybody is told of it."""
