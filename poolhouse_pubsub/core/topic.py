"""A topic: who gets its messages, and what it keeps of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.transforms import Chain


class Topic:
    """One topic.

    Args:
        name: Full resource name.
        uid: Identity; a topic of the same name made later is another one.
        config: Its `google.pubsub.v1.Topic`, as Get answers it.
    """

    def __init__(self, name: str, *, uid: str, config: Any) -> None:
        self.name = name
        self.uid = uid
        self.config = config
        #: Names of the attached subscriptions, in the order they were made.
        self.subscriptions: dict[str, None] = {}
        #: Names of the snapshots of its subscriptions.
        self.snapshots: dict[str, None] = {}
        #: Its message transforms, made when the first message needs them.
        self.transforms: Chain | None = None
        #: Messages that were published to it since the start.
        self.published_count = 0
        self._retained: deque[Message] = deque()

    @property
    def retention_s(self) -> float:
        """How long it keeps messages for a seek, in seconds; 0 for not at all."""
        duration = self.config.message_retention_duration
        return float(duration.seconds + duration.nanos / 1e9)

    def keep(self, messages: Sequence[Message]) -> None:
        """Keep published messages if it has a retention."""
        if self.config.HasField("message_retention_duration"):
            self._retained.extend(messages)

    def forget(self, now: float) -> None:
        """Drop what is older than the retention."""
        if not self._retained:
            return
        if not self.config.HasField("message_retention_duration"):
            self._retained.clear()
            return
        before_us = round((now - self.retention_s) * 1e6) + 1
        while self._retained and self._retained[0].published_us < before_us:
            self._retained.popleft()

    def retained(self) -> Iterator[Message]:
        """Return what it keeps, in publish order."""
        return iter(self._retained)
