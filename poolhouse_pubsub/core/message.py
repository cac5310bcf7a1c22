"""A stored message: the bytes a consumer gets, with the few fields that delivery decides by.

A message is held as a serialised `google.pubsub.v1.PubsubMessage`, made once at publish: the smallest form in memory,
and each delivery is then a copy of bytes instead of a tree of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolhouse_pubsub import protos


class Message:
    """One published message. Never changed after it was made; shared by all subscriptions that hold it."""

    __slots__ = ("id", "key", "published_us", "wire")

    def __init__(self, id: int, published_us: int, key: str, wire: bytes) -> None:
        #: Grows with every message of the emulator; decimal text of it is the message id.
        self.id = id
        #: Publish time, microseconds since the epoch.
        self.published_us = published_us
        #: Ordering key, "" for none.
        self.key = key
        #: The serialised PubsubMessage.
        self.wire = wire

    @property
    def published_at(self) -> float:
        """Publish time, seconds since the epoch."""
        return self.published_us / 1e6

    def parse(self) -> Any:
        """Return a PubsubMessage of its own, with all fields."""
        return protos.PubsubMessage.FromString(self.wire)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


#: Varints of every length that a normal message has, ready made.
_SMALL = [_varint(n) for n in range(16_384)]


def varint(value: int) -> bytes:
    """Protobuf's variable-length form of a non-negative integer."""
    return _SMALL[value] if value < 16_384 else _varint(value)


def seal(drafts: Sequence[Any], *, first_id: int, published_us: int) -> list[Message]:
    """Make the stored form of PubsubMessages that are published together.

    What the server sets is written behind what the client sent, and not into the messages: that takes half the time.

    Args:
        drafts: The messages; an id and a time that the client set are cleared.
        first_id: The id of the first; the others' follow it.
        published_us: Publish time, microseconds since the epoch.
    """
    seconds, micros = divmod(published_us, 1_000_000)
    stamp = b"\x08" + varint(seconds) + (b"\x10" + varint(micros * 1000) if micros else b"")
    published = b"\x22" + varint(len(stamp)) + stamp  # field 4, publish_time
    messages = []
    for id, draft in enumerate(drafts, first_id):
        if draft.message_id or draft.HasField("publish_time"):
            draft.ClearField("message_id")
            draft.ClearField("publish_time")
        digits = b"%d" % id
        # Field 3, message_id. Added, not formatted together: that copies the data more than once.
        wire = draft.SerializeToString() + b"\x1a%c%b%b" % (len(digits), digits, published)
        messages.append(Message(id, published_us, draft.ordering_key, wire))
    return messages


def append_received(parts: list[bytes], *, ack_id: str, wire: bytes, attempt: int) -> None:
    """Append one `received_messages` element (field 1 of both PullResponse and StreamingPullResponse) to `parts`.

    Args:
        parts: Pieces of a serialised response.
        ack_id: The delivery's ack id.
        wire: The serialised PubsubMessage.
        attempt: delivery_attempt; 0 leaves it out.
    """
    ack = ack_id.encode()
    size = len(wire)
    ack_size = varint(len(ack))
    wire_size = varint(size)
    tail = b"\x18" + varint(attempt) if attempt else b""
    inner = 2 + len(ack_size) + len(ack) + len(wire_size) + size + len(tail)
    parts += (b"\x0a", varint(inner), b"\x0a", ack_size, ack, b"\x12", wire_size, wire, tail)


def restored(id: int, published_us: int, wire: bytes) -> Message:
    """Return a message read back from where it was kept."""
    return Message(id, published_us, protos.PubsubMessage.FromString(wire).ordering_key, wire)
