"""What a schema wants of a message: its fields, an example, and the encoding of what was typed as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import FieldDescriptor

from poolhouse_pubsub.schemas import ParsedSchema, SchemaError
from poolhouse_pubsub.schemas.avro import Array, AvroSchema, AvroType, Enum, Fixed, Map, Primitive, Record, Union
from poolhouse_pubsub.schemas.avro_writer import to_binary

#: A schema may hold itself: an example and a list of fields end at this depth.
_DEPTH = 6
#: Most fields that are listed, and most values in an example.
_MOST_FIELDS = 200
_MOST_VALUES = 1_000
_AVRO: Mapping[str, Any] = {"null": None, "boolean": False, "float": 0.0, "double": 0.0, "bytes": "", "string": ""}


def fields(schema: ParsedSchema) -> list[tuple[str, str]]:
    """Return the fields of a message: the path and the type of each."""
    if isinstance(schema, AvroSchema):
        found = _avro_fields(schema, schema.root, "", _DEPTH)
    else:
        found = _proto_fields(schema.message_class.DESCRIPTOR, "", _DEPTH)
    return list(islice(found, _MOST_FIELDS))


def example(schema: ParsedSchema) -> str:
    """Return a message with every field, as JSON; "" where that would be too large."""
    writer = _Example()
    try:
        if isinstance(schema, AvroSchema):
            value = writer.avro(schema, schema.root, _DEPTH)
        else:
            value = writer.proto(schema.message_class.DESCRIPTOR, _DEPTH)
    except _TooLarge:
        return ""
    return json.dumps(value, indent=2, ensure_ascii=False)


def encode(schema: ParsedSchema, text: str) -> bytes:
    """Turn JSON into the schema's binary encoding.

    Raises:
        SchemaError: It does not fit the schema.
    """
    if isinstance(schema, AvroSchema):
        return to_binary(schema, text.encode("utf-8", "surrogatepass"))
    try:
        message = json_format.Parse(text, schema.message_class())
        return bytes(message.SerializeToString())
    except (json_format.ParseError, ValueError) as error:
        raise SchemaError(str(error)) from None


def _avro_fields(schema: AvroSchema, type_: AvroType, path: str, depth: int) -> Iterator[tuple[str, str]]:
    named = _named(schema, type_)
    if isinstance(named, Record) and depth:
        for member in named.fields:
            inner = f"{path}.{member.name}" if path else member.name
            yield inner, _avro_label(schema, member.type)
            yield from _avro_fields(schema, member.type, inner, depth - 1)
    elif isinstance(type_, Array):
        yield from _avro_fields(schema, type_.items, f"{path}[]", depth - 1 if depth else 0)


def _avro_label(schema: AvroSchema, type_: AvroType) -> str:
    match type_:
        case Array(items):
            return f"array of {_avro_label(schema, items)}"
        case Map(values):
            return f"map of {_avro_label(schema, values)}"
        case Union(branches):
            return " or ".join(_avro_label(schema, branch) for branch in branches)
    match _named(schema, type_):
        case Enum(name, symbols, _):
            return f"{name}: {', '.join(symbols[:10])}"
        case Fixed(name, size_bytes):
            return f"{name}: {size_bytes} bytes"
    return type_.label


def _named(schema: AvroSchema, type_: AvroType) -> Any:
    return schema.names.get(type_.label) if not isinstance(type_, Primitive) else None


def _proto_fields(descriptor: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    repeated = _repeated(descriptor)
    for field in descriptor.fields:
        inner = f"{path}.{field.name}" if path else field.name
        if _is_map(field):
            yield inner, "map"
            continue
        label = field.message_type.name if field.message_type is not None else _proto_type(field)
        yield inner, f"repeated {label}" if field.name in repeated else label
        if field.message_type is not None and depth:
            inner += "[]" if field.name in repeated else ""
            yield from _proto_fields(field.message_type, inner, depth - 1)


def _proto_type(field: Any) -> str:
    if field.enum_type is not None:
        return f"{field.enum_type.name}: {', '.join(value.name for value in field.enum_type.values[:10])}"
    kinds = {value: name for name, value in vars(FieldDescriptor).items() if name.startswith("TYPE_")}
    return str(kinds[field.type]).removeprefix("TYPE_").lower()


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _repeated(descriptor: Any) -> set[str]:
    # By the descriptor's own message: how a FieldDescriptor tells differs between versions of protobuf.
    proto = descriptor_pb2.DescriptorProto()
    descriptor.CopyToProto(proto)
    return {field.name for field in proto.field if field.label == proto.field[0].LABEL_REPEATED}


class _TooLarge(Exception):
    pass


class _Example:
    """Makes one message."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def avro(self, schema: AvroSchema, type_: AvroType, depth: int) -> Any:
        """Return a value of an Avro type."""
        self._count()
        match type_:
            case Primitive(kind):
                return _AVRO.get(kind, 0)
            case Array(items):
                return [self.avro(schema, items, depth - 1)] if depth > 0 else []
            case Map(values):
                return {"key": self.avro(schema, values, depth - 1)} if depth > 0 else {}
            case Union(branches):
                # What is there is more of an example than null; too deep in, whatever is simplest ends it.
                by_worth = sorted(branches, key=lambda one: (one.label == "null", one.label in schema.names))
                branch = by_worth[0] if depth > 0 else min(branches, key=lambda one: _weight(schema, one))
                return None if branch.label == "null" else {branch.label: self.avro(schema, branch, depth - 1)}
        match schema.names[type_.label]:
            case Record(_, members):
                return {member.name: self.avro(schema, member.type, depth - 1) for member in members}
            case Enum(_, symbols, default):
                return default if default is not None else symbols[0]
            case Fixed(_, size_bytes):
                return "0" * size_bytes

    def proto(self, descriptor: Any, depth: int) -> dict[str, Any]:
        """Return a message of a Protocol Buffers type, with the first field of each oneof."""
        found: dict[str, Any] = {}
        chosen = {oneof.fields[0].name for oneof in descriptor.oneofs}
        repeated = _repeated(descriptor)
        for field in descriptor.fields:
            self._count()
            if field.containing_oneof is not None and field.name not in chosen:
                continue
            if _is_map(field):
                found[field.name] = {}
                continue
            if field.message_type is not None:
                if not depth:
                    continue
                value: Any = self.proto(field.message_type, depth - 1)
            elif field.enum_type is not None:
                value = field.enum_type.values[0].name
            elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                value = ""
            elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
                value = False
            else:
                value = 0
            found[field.name] = [value] if field.name in repeated else value
        return found

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _TooLarge


def _weight(schema: AvroSchema, type_: AvroType) -> int:
    """Return how much is needed to write a type: null, then what is no record, then a record."""
    return 0 if type_.label == "null" else 2 if type_.label in schema.names else 1
