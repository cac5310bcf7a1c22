"""Messages in Avro's binary encoding, checked against a schema.

A walk over the bytes that builds no values. Stricter than the usual readers: bytes after the message, text that is not
UTF-8, booleans other than 0 and 1 and block sizes that are wrong are refused.
"""

from __future__ import annotations

from typing import Final

from poolhouse_pubsub.schemas.avro import (
    INTEGER_RANGES,
    Array,
    AvroSchema,
    AvroType,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Reference,
    Union,
)
from poolhouse_pubsub.schemas.errors import SchemaError

_FLOAT_BYTES: Final = {"float": 4, "double": 8}
#: Items without any bytes (null, empty records) that one message may hold: their number alone costs time.
_MAX_EMPTY_ITEMS: Final = 1_000_000


def check_binary(schema: AvroSchema, data: bytes) -> None:
    """Check a message.

    Raises:
        SchemaError: It does not fit the schema; says which part of it and at which byte.
    """
    walk = _Walk(schema, data)
    try:
        walk.value(schema.root, "the message")
    except RecursionError:
        raise SchemaError("the message is nested too deeply") from None
    if walk.position < len(data):
        raise SchemaError(
            f"the message ends at byte {walk.position}, but {len(data) - walk.position} more bytes follow"
        )


class _Walk:
    def __init__(self, schema: AvroSchema, data: bytes) -> None:
        self._names = schema.names
        self._data = data
        self._empty_items = 0
        self.position = 0

    def value(self, type_: AvroType, where: str) -> None:
        match type_:
            case Primitive(kind):
                self._primitive(kind, where)
            case Array(items):
                self._blocks(items, where, keyed=False)
            case Map(values):
                self._blocks(values, where, keyed=True)
            case Union(branches):
                index = self._index(len(branches), "branches of the union", where)
                self.value(branches[index], where)
            case Reference(name):
                match self._names[name]:
                    case Record(_, fields):
                        for member in fields:
                            self.value(member.type, f"{where}.{member.name}")
                    case Enum(_, symbols, _):
                        self._index(len(symbols), "symbols of the enum", where)
                    case Fixed(_, size_bytes):
                        self._take(size_bytes, where)

    def _primitive(self, kind: str, where: str) -> None:
        match kind:
            case "null":
                pass
            case "boolean":
                byte = self._take(1, where)
                if byte not in (b"\x00", b"\x01"):
                    raise self._error(where, f"a boolean is the byte 0 or 1, found {byte[0]}")
            case "int" | "long":
                value = self._integer(where)
                least, greatest = INTEGER_RANGES[kind]
                if not least <= value <= greatest:
                    raise self._error(where, f"{value} is out of the range of an {kind}")
            case "float" | "double":
                self._take(_FLOAT_BYTES[kind], where)
            case "bytes":
                self._sized(where)
            case _:
                self._text(where)

    def _blocks(self, type_: AvroType, where: str, *, keyed: bool) -> None:
        index = 0
        while count := self._integer(where):
            end: int | None = None
            if count < 0:
                # A negative count is followed by the block's size in bytes, for readers that skip it.
                count = -count
                size_bytes = self._integer(where)
                if size_bytes < 0:
                    raise self._error(where, f"a block of {size_bytes} bytes")
                end = self.position + size_bytes
            for _ in range(count):
                start = self.position
                if keyed:
                    self._text(f"{where}, a key")
                self.value(type_, f"{where}[{index}]")
                index += 1
                if self.position == start:
                    self._empty_items += 1
                    if self._empty_items > _MAX_EMPTY_ITEMS:
                        raise self._error(where, f"more than {_MAX_EMPTY_ITEMS} items without content")
            if end is not None and self.position != end:
                raise self._error(where, "a block's size in bytes is not that of its items")

    def _text(self, where: str) -> None:
        raw = self._sized(where)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self._error(where, "a string that is not UTF-8") from None

    def _sized(self, where: str) -> bytes:
        size_bytes = self._integer(where)
        if size_bytes < 0:
            raise self._error(where, f"a length of {size_bytes} bytes")
        return self._take(size_bytes, where)

    def _index(self, count: int, what: str, where: str) -> int:
        index = self._integer(where)
        if not 0 <= index < count:
            raise self._error(where, f"index {index}, but there are {count} {what}")
        return index

    def _integer(self, where: str) -> int:
        """Read a zig-zag variable-length integer of at most 64 bits."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1, where)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 2**64:
                    break
                return (value >> 1) ^ -(value & 1)
        raise self._error(where, "an integer of more than 64 bits")

    def _take(self, size_bytes: int, where: str) -> bytes:
        end = self.position + size_bytes
        if end > len(self._data):
            raise self._error(where, f"{size_bytes} bytes expected, {len(self._data) - self.position} left")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def _error(self, where: str, problem: str) -> SchemaError:
        return SchemaError(f"{where}: {problem} (at byte {self.position})")
