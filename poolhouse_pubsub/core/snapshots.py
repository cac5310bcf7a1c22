"""Snapshots and seeks: which messages of a subscription are unacked afterwards (Replay and purge)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.rules import Rules

#: A snapshot lives this long from the oldest message in it, in seconds (pubsub.proto, Snapshot.expire_time).
LIFETIME_S = 7 * 86_400
#: A snapshot that would live shorter than this is refused, in seconds (CreateSnapshot).
LEAST_LIFETIME_S = 3_600


class Snapshot:
    """The unacked messages of a subscription at a moment, and everything its topic got since.

    Args:
        name: Full resource name.
        topic_uid: Identity of the topic.
        config: Its `google.pubsub.v1.Snapshot`.
        unacked: The unacked messages at its creation, in publish order.
    """

    def __init__(self, name: str, *, topic_uid: str, config: Any, unacked: Iterable[Message]) -> None:
        self.name = name
        self.topic_uid = topic_uid
        self.config = config
        self._messages = list(unacked)

    def keep(self, messages: Iterable[Message]) -> None:
        """Take messages published after its creation."""
        self._messages.extend(messages)

    def messages(self) -> Iterator[Message]:
        """Return what a seek to it brings back, in publish order."""
        return iter(self._messages)


def expiry_s(*, now: float, oldest_us: int | None) -> float:
    """When a snapshot made now expires, seconds since the epoch.

    Args:
        now: The present moment.
        oldest_us: Publish time of the oldest unacked message, microseconds since the epoch; None without one.
    """
    return (oldest_us / 1e6 if oldest_us is not None else now) + LIFETIME_S


def passing(rules: Rules, messages: Iterable[Message]) -> Iterator[Message]:
    """Return the messages that a subscription's filter lets through."""
    if rules.filter is None:
        return iter(messages)
    return (message for message in messages if rules.filter.matches(message.parse().attributes))


def after(moment_us: int, *sources: Iterable[Message]) -> list[Message]:
    """Return the messages published at or after a moment, each once, in publish order.

    Args:
        moment_us: Microseconds since the epoch.
        sources: What is unacked, and what is retained by the subscription and by its topic.
    """
    found = {message.id: message for source in sources for message in source if message.published_us >= moment_us}
    return [found[id] for id in sorted(found)]
