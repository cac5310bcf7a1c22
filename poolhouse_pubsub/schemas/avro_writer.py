"""Messages from Avro's JSON encoding into its binary one."""

from __future__ import annotations

import json
import struct
from typing import Any

from poolhouse_pubsub.schemas.avro import (
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
from poolhouse_pubsub.schemas.avro_json import check_json


def to_binary(schema: AvroSchema, data: bytes) -> bytes:
    """Encode a message.

    Args:
        schema: What it is checked against.
        data: The message in the JSON encoding.

    Raises:
        SchemaError: It does not fit the schema.
    """
    check_json(schema, data)
    out = bytearray()
    _write(schema, schema.root, json.loads(data), out)
    return bytes(out)


def _write(schema: AvroSchema, type_: AvroType, value: Any, out: bytearray) -> None:
    match type_:
        case Primitive(kind):
            _write_primitive(kind, value, out)
        case Array(items):
            if value:
                _write_integer(len(value), out)
            for item in value:
                _write(schema, items, item, out)
            _write_integer(0, out)
        case Map(values):
            if value:
                _write_integer(len(value), out)
            for key, item in value.items():
                _write_sized(key.encode(), out)
                _write(schema, values, item, out)
            _write_integer(0, out)
        case Union(branches):
            label, inner = ("null", None) if value is None else next(iter(value.items()))
            index = [branch.label for branch in branches].index(label)
            _write_integer(index, out)
            _write(schema, branches[index], inner, out)
        case Reference(name):
            match schema.names[name]:
                case Record(_, fields):
                    for member in fields:
                        _write(schema, member.type, value[member.name], out)
                case Enum(_, symbols, _):
                    _write_integer(symbols.index(value), out)
                case Fixed(_, _):
                    out += value.encode("latin-1")


def _write_primitive(kind: str, value: Any, out: bytearray) -> None:
    match kind:
        case "null":
            pass
        case "boolean":
            out.append(value)
        case "int" | "long":
            _write_integer(int(value), out)
        case "float":
            out += struct.pack("<f", value)
        case "double":
            out += struct.pack("<d", value)
        case "bytes":
            _write_sized(value.encode("latin-1"), out)
        case _:
            _write_sized(value.encode(), out)


def _write_sized(data: bytes, out: bytearray) -> None:
    _write_integer(len(data), out)
    out += data


def _write_integer(value: int, out: bytearray) -> None:
    """Write a zig-zag variable-length integer."""
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
