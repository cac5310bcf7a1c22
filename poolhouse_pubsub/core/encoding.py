"""Serialised answers with messages, put together from stored bytes."""

from __future__ import annotations

from collections.abc import Sequence

from poolhouse_pubsub.core.leases import Entry
from poolhouse_pubsub.core.message import append_received
from poolhouse_pubsub.core.subscription import Subscription


def encode(subscription: Subscription, batch: Sequence[Entry]) -> bytes:
    """Return the `received_messages` of a PullResponse or a StreamingPullResponse, serialised.

    delivery_attempt is only there with a dead-letter policy (google/pubsub/v1/pubsub.proto, ReceivedMessage).
    """
    counts = subscription.rules.dead_letter_topic is not None
    transforms = subscription.rules.transforms is not None
    parts: list[bytes] = []
    for entry in batch:
        message = subscription.outgoing(entry) if transforms else entry.message
        append_received(parts, ack_id=entry.ack_id, wire=message.wire, attempt=entry.failures + 1 if counts else 0)
    return b"".join(parts)
