"""Messages in Avro's JSON encoding, checked against a schema.

Unions are ``{"branch": value}`` except null; bytes and fixed are strings of characters up to U+00FF. Every field of a
record must be there, whether it has a default or not: defaults serve resolution between schemas, not this encoding.
Stricter than Google's emulator, which lets extra fields, trailing text and fractions for integers pass.
"""

from __future__ import annotations

from typing import Any

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
    is_latin_1,
)
from poolhouse_pubsub.schemas.errors import SchemaError
from poolhouse_pubsub.schemas.json_text import load_json, short


def check_json(schema: AvroSchema, data: bytes) -> None:
    """Check a message.

    Raises:
        SchemaError: It does not fit the schema; says which part of it.
    """
    value = load_json(data, what="the message")
    try:
        _check(schema, schema.root, value, "the message")
    except RecursionError:
        raise SchemaError("the message is nested too deeply") from None


def _check(schema: AvroSchema, type_: AvroType, value: Any, where: str) -> None:
    match type_:
        case Primitive(kind):
            _check_primitive(kind, value, where)
        case Array(items):
            if not isinstance(value, list):
                raise _mismatch(where, "a list", value)
            for index, item in enumerate(value):
                _check(schema, items, item, f"{where}[{index}]")
        case Map(values):
            if not isinstance(value, dict):
                raise _mismatch(where, "an object", value)
            for key, item in value.items():
                _check(schema, values, item, f"{where}[{short(key)}]")
        case Union(branches):
            _check_union(schema, branches, value, where)
        case Reference(name):
            match schema.names[name]:
                case Record(_, _) as record:
                    _check_record(schema, record, value, where)
                case Enum(_, symbols, _):
                    if value not in symbols:
                        raise _mismatch(where, f"one of {', '.join(symbols[:20])}", value)
                case Fixed(_, size_bytes):
                    if not isinstance(value, str) or not is_latin_1(value) or len(value) != size_bytes:
                        raise _mismatch(where, f"a string of {size_bytes} characters up to U+00FF", value)


def _check_primitive(kind: str, value: Any, where: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "null":
            if value is not None:
                raise _mismatch(where, "null", value)
        case "boolean":
            if not isinstance(value, bool):
                raise _mismatch(where, "true or false", value)
        case "int" | "long":
            least, greatest = INTEGER_RANGES[kind]
            if not number or (isinstance(value, float) and not value.is_integer()) or not least <= value <= greatest:
                raise _mismatch(where, f"an integer from {least} to {greatest}", value)
        case "float" | "double":
            if not number:
                raise _mismatch(where, "a number", value)
        case "bytes":
            if not isinstance(value, str) or not is_latin_1(value):
                raise _mismatch(where, "a string of characters up to U+00FF, one a byte", value)
        case _:
            if not isinstance(value, str):
                raise _mismatch(where, "a string", value)


def _check_union(schema: AvroSchema, branches: tuple[AvroType, ...], value: Any, where: str) -> None:
    by_label = {branch.label: branch for branch in branches}
    if value is None:
        if "null" not in by_label:
            raise _mismatch(where, f"one of {_labels(by_label)}", value)
        return
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in by_label:
        raise SchemaError(
            f"{where}: a value of a union is written as one object {{branch: value}} with one of the branches"
            f" {_labels(by_label)} (null alone stands bare), found {short(value)}"
        )
    label, inner = next(iter(value.items()))
    _check(schema, by_label[label], inner, where)


def _check_record(schema: AvroSchema, record: Record, value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise _mismatch(where, f"an object, a {record.name}", value)
    for member in record.fields:
        if member.name not in value:
            raise SchemaError(
                f"{where}: field {member.name!r} of {record.name} is missing"
                " (the JSON encoding needs every field, also one with a default)"
            )
        _check(schema, member.type, value[member.name], f"{where}.{member.name}")
    if len(value) > len(record.fields):
        known = {member.name for member in record.fields}
        extra = next(key for key in value if key not in known)
        raise SchemaError(f"{where}: {record.name} has no field {extra!r}")


def _labels(by_label: dict[str, AvroType]) -> str:
    return ", ".join(repr(label) for label in by_label)


def _mismatch(where: str, expected: str, found: Any) -> SchemaError:
    return SchemaError(f"{where}: expected {expected}, found {short(found)}")
