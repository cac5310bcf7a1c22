"""JSON values too large for a message or a record: objects of their own, named by what they hold.

What a message or a record says of such a value is its size and its hash; the object's name follows from the task's id
and the hash. So a message that was published by hand can name no other object, and whatever is read is what was
written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from poolhouse.pipeline import names, numbers, pieces
from poolhouse.pipeline.errors import MalformedMessage, ObjectNotFound, PoolhouseError
from poolhouse.pipeline.pieces import PIECE_BYTES

if TYPE_CHECKING:
    from poolhouse.pipeline.store import ObjectStore  # which imports Google's clients

#: Attributes of a message whose payload is an object.
PAYLOAD_SHA256, PAYLOAD_BYTES = "payload_sha256", "payload_bytes"
#: Bytes, as JSON, up to which a payload travels in its message unless pipeline.toml says otherwise.
INLINE_BYTES = 1_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_DIGITS = 10


class ValueLost(PoolhouseError):
    """The object of a large value is gone, or is not what was written."""


class ValueObject(BaseModel):
    """A large value, by reference."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    size_bytes: int
    sha256: str


def payload_object(task_id: str, data: bytes) -> ValueObject:
    """The object of a task's payload, or of a step's result, whose JSON is `data`."""
    sha256 = hashlib.sha256(data).hexdigest()
    return ValueObject(name=names.payload(task_id, sha256), size_bytes=len(data), sha256=sha256)


def attributes_of(value: ValueObject) -> dict[str, str]:
    """The attributes by which a message refers to its payload."""
    return {PAYLOAD_SHA256: value.sha256, PAYLOAD_BYTES: str(value.size_bytes)}


def without_reference(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a message that has its payload in itself."""
    return {name: text for name, text in attributes.items() if name not in {PAYLOAD_SHA256, PAYLOAD_BYTES}}


def referred(task_id: str, attributes: Mapping[str, str]) -> ValueObject | None:
    """The payload's object by a message's attributes; None if they name none. Raises `MalformedMessage`."""
    sha256 = attributes.get(PAYLOAD_SHA256)
    size_bytes = numbers.digits(attributes.get(PAYLOAD_BYTES, ""), most=_MOST_DIGITS)
    if sha256 is None:
        return None
    if not _SHA256.fullmatch(sha256) or size_bytes is None:
        raise MalformedMessage(f"malformed message: {PAYLOAD_SHA256} and {PAYLOAD_BYTES} are no reference to a payload")
    return ValueObject(name=names.payload(task_id, sha256), size_bytes=size_bytes, sha256=sha256)


def write(store: ObjectStore, value: ValueObject, data: bytes) -> None:
    """Write the object; again changes nothing, since its name follows from what it holds."""
    pieces.write(store, value.name, data)


def read(store: ObjectStore, value: ValueObject) -> Any:
    """The value. Raises `ValueLost`, as `read_bytes`."""
    try:
        return from_json(read_bytes(store, value))
    except ValueError as error:
        raise ValueLost(f"{value.name} is not JSON: {error}") from None


def read_bytes(store: ObjectStore, value: ValueObject) -> bytes:
    """The value as JSON; never more than its size is held.

    Raises:
        ValueLost: the object is gone or another; the text says which.
    """
    digest, found, size = hashlib.sha256(), list[bytes](), 0
    try:
        with store.open_read(value.name) as stream:
            while size <= value.size_bytes and (piece := stream.read(min(PIECE_BYTES, value.size_bytes + 1 - size))):
                digest.update(piece)
                found.append(piece)
                size += len(piece)
    except ObjectNotFound:
        raise ValueLost(f"{value.name} is gone: deleted by hand, or by the bucket's lifecycle") from None
    if size != value.size_bytes or digest.hexdigest() != value.sha256:
        raise ValueLost(f"{value.name} is not what was written: its size or SHA-256 is another")
    return b"".join(found)


def remove(store: ObjectStore, value: ValueObject) -> None:
    """Delete the object; one that is absent already is fine."""
    store.delete(value.name)
