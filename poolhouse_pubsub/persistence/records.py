"""The records of the log: what changed, as bytes."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from poolhouse_pubsub.core.message import Message, restored

_MESSAGE = struct.Struct("<QqIHB")
_SHORT = struct.Struct("<H")
_LONG = struct.Struct("<Q")
_FAILED = struct.Struct("<QQI")
_COUNTERS = struct.Struct("<QQQq")


class Kind(IntEnum):
    """First byte of a record."""

    PUT = 1
    DROP = 2
    PUBLISHED = 3
    LEFT = 4
    RETAINED = 5
    FAILED = 6
    REPLACED = 7
    CAPTURED = 8
    COUNTERS = 9


@dataclass(frozen=True, slots=True)
class Put:
    """A resource as it is from here on."""

    kind: str
    name: str
    uid: str
    config: bytes

    def encode(self) -> bytes:
        return bytes((Kind.PUT,)) + _texts(self.kind, self.name, self.uid) + self.config


@dataclass(frozen=True, slots=True)
class Drop:
    """A resource is gone."""

    kind: str
    name: str

    def encode(self) -> bytes:
        return bytes((Kind.DROP,)) + _texts(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Published:
    """Messages of one topic: for each the uids of its takers, and whether the topic keeps it."""

    topic_uid: str
    messages: Sequence[Message]
    takers: Sequence[Sequence[str]]
    kept: bool

    def encode(self) -> bytes:
        parts = [bytes((Kind.PUBLISHED,)), _texts(self.topic_uid)]
        for message, uids in zip(self.messages, self.takers, strict=True):
            size = len(message.wire)
            parts.append(_MESSAGE.pack(message.id, message.published_us, size, len(uids), self.kept))
            parts += (_LONG.pack(int(uid, 16)) for uid in uids)
            parts.append(message.wire)
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Left:
    """Messages left a subscription; `retained` ones are kept for a seek."""

    uid: str
    ids: Sequence[int]
    retained: bool

    def encode(self) -> bytes:
        return bytes((Kind.RETAINED if self.retained else Kind.LEFT,)) + _texts(self.uid) + _numbers(self.ids)


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery failed; `failures` so far."""

    uid: str
    id: int
    failures: int

    def encode(self) -> bytes:
        return bytes((Kind.FAILED,)) + _FAILED.pack(int(self.uid, 16), self.id, self.failures)


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a subscription holds after a seek."""

    uid: str
    unacked: Sequence[int]
    retained: Sequence[int]

    def encode(self) -> bytes:
        count = _LONG.pack(len(self.unacked))
        return bytes((Kind.REPLACED,)) + _texts(self.uid) + count + _numbers((*self.unacked, *self.retained))


@dataclass(frozen=True, slots=True)
class Captured:
    """A snapshot with its messages."""

    name: str
    topic_uid: str
    config: bytes
    ids: Sequence[int]

    def encode(self) -> bytes:
        head = bytes((Kind.CAPTURED,)) + _texts(self.name, self.topic_uid) + _LONG.pack(len(self.ids))
        return head + _numbers(self.ids) + self.config


@dataclass(frozen=True, slots=True)
class Counters:
    """Where ids go on."""

    boot: int
    last_message_id: int
    last_uid: int
    last_published_us: int

    def encode(self) -> bytes:
        values = (self.boot, self.last_message_id, self.last_uid, self.last_published_us)
        return bytes((Kind.COUNTERS,)) + _COUNTERS.pack(*values)


Record = Put | Drop | Published | Left | Failed | Replaced | Captured | Counters


def decode(raw: bytes) -> Record:
    """Read a record back.

    Raises:
        ValueError: It is none.
    """
    kind = Kind(raw[0])
    match kind:
        case Kind.PUT:
            (what, name, uid), at = _read_texts(raw, 3)
            return Put(what, name, uid, raw[at:])
        case Kind.DROP:
            (what, name), _ = _read_texts(raw, 2)
            return Drop(what, name)
        case Kind.PUBLISHED:
            return _decode_published(raw)
        case Kind.LEFT | Kind.RETAINED:
            (uid,), at = _read_texts(raw, 1)
            return Left(uid, _read_numbers(raw[at:]), kind is Kind.RETAINED)
        case Kind.FAILED:
            number, id, failures = _FAILED.unpack_from(raw, 1)
            return Failed(f"{number:x}", id, failures)
        case Kind.REPLACED:
            (uid,), at = _read_texts(raw, 1)
            (count,) = _LONG.unpack_from(raw, at)
            ids = _read_numbers(raw[at + _LONG.size :])
            return Replaced(uid, ids[:count], ids[count:])
        case Kind.CAPTURED:
            (name, topic_uid), at = _read_texts(raw, 2)
            (count,) = _LONG.unpack_from(raw, at)
            at += _LONG.size
            end = at + count * _LONG.size
            return Captured(name, topic_uid, raw[end:], _read_numbers(raw[at:end]))
        case Kind.COUNTERS:
            return Counters(*_COUNTERS.unpack_from(raw, 1))


def _decode_published(raw: bytes) -> Published:
    (topic_uid,), at = _read_texts(raw, 1)
    messages, takers, kept = [], [], False
    while at < len(raw):
        id, published_us, size, count, flag = _MESSAGE.unpack_from(raw, at)
        at += _MESSAGE.size
        takers.append([f"{_LONG.unpack_from(raw, at + place * _LONG.size)[0]:x}" for place in range(count)])
        at += count * _LONG.size
        messages.append(restored(id, published_us, raw[at : at + size]))
        at += size
        kept = bool(flag)
    return Published(topic_uid, messages, takers, kept)


def _texts(*texts: str) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(_SHORT.pack(len(text)) + text for text in encoded)


def _read_texts(raw: bytes, count: int) -> tuple[list[str], int]:
    at, texts = 1, []
    for _ in range(count):
        (size,) = _SHORT.unpack_from(raw, at)
        at += _SHORT.size
        texts.append(raw[at : at + size].decode())
        at += size
    return texts, at


def _numbers(numbers: Iterable[int]) -> bytes:
    return array("Q", numbers).tobytes()


def _read_numbers(raw: bytes) -> list[int]:
    return array("Q", raw).tolist()
