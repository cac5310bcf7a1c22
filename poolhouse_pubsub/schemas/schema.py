"""Schemas of either type behind three functions: parse, compare revisions, check messages."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from poolhouse_pubsub.schemas.avro import AvroSchema, parse_avro
from poolhouse_pubsub.schemas.avro_binary import check_binary
from poolhouse_pubsub.schemas.avro_json import check_json
from poolhouse_pubsub.schemas.avro_revision import check_avro_revision
from poolhouse_pubsub.schemas.errors import SchemaError

if TYPE_CHECKING:
    from poolhouse_pubsub.schemas.protobuf import ProtobufSchema

ParsedSchema: TypeAlias = "AvroSchema | ProtobufSchema"

#: Longest definition, in bytes of UTF-8 (Pub/Sub quotas and limits: 300 KB).
MAX_DEFINITION_BYTES: Final = 300_000


class SchemaType(StrEnum):
    """Names as in ``google.pubsub.v1.Schema.Type``."""

    AVRO = "AVRO"
    PROTOCOL_BUFFER = "PROTOCOL_BUFFER"


class Encoding(StrEnum):
    """Names as in ``google.pubsub.v1.Encoding``."""

    JSON = "JSON"
    BINARY = "BINARY"


def parse_schema(type: SchemaType | str, definition: str) -> ParsedSchema:
    """Parse a schema's definition.

    A Protocol Buffers definition takes a child process and some 0.1 s: call it off an event loop.

    Args:
        type: AVRO or PROTOCOL_BUFFER.
        definition: Avro JSON, or the text of a ``.proto`` file.

    Raises:
        SchemaError: The definition is empty, too long or no schema of this type; says where.
        ValueError: The type is neither.
    """
    schema_type = SchemaType(type)
    if not definition:
        raise SchemaError("the schema has no definition")
    size_bytes = len(definition.encode("utf-8", "surrogatepass"))
    if size_bytes > MAX_DEFINITION_BYTES:
        raise SchemaError(f"the definition has {size_bytes} bytes; at most {MAX_DEFINITION_BYTES} are allowed")
    if schema_type is SchemaType.AVRO:
        return parse_avro(definition)
    from poolhouse_pubsub.schemas.protobuf import parse_protobuf  # noqa: PLC0415 - slow to import, see there

    return parse_protobuf(definition)


def parse_compiled_schema(root: str, compiled: bytes) -> ParsedSchema:
    """Parse a Protocol Buffers schema that comes as a serialised ``FileDescriptorSet``.

    Args:
        root: Full name of its root message.
        compiled: The ``FileDescriptorSet``.

    Raises:
        SchemaError: It is empty, too long, no ``FileDescriptorSet``, or lacks the message.
    """
    if len(compiled) > MAX_DEFINITION_BYTES:
        raise SchemaError(f"compiled_bytes has {len(compiled)} bytes; at most {MAX_DEFINITION_BYTES} are allowed")
    from poolhouse_pubsub.schemas.protobuf import parse_compiled_protobuf  # noqa: PLC0415

    return parse_compiled_protobuf(root, compiled)


def check_compatible(old: ParsedSchema, new: ParsedSchema) -> None:
    """Check that ``new`` may be committed as a revision after ``old``.

    Raises:
        SchemaError: It may not: another type of schema, or a change beyond fields that are optional.
    """
    if isinstance(old, AvroSchema) and isinstance(new, AvroSchema):
        check_avro_revision(old, new)
    elif isinstance(old, AvroSchema) or isinstance(new, AvroSchema):
        raise SchemaError("a revision may not change the type of the schema (AVRO, PROTOCOL_BUFFER)")
    else:
        from poolhouse_pubsub.schemas.protobuf import check_protobuf_revision  # noqa: PLC0415

        check_protobuf_revision(old, new)


def validate_message(schema: ParsedSchema, data: bytes, encoding: Encoding | str) -> None:
    """Check a message's data against a schema.

    Args:
        schema: What ``parse_schema`` returned.
        data: The message's data.
        encoding: JSON or BINARY.

    Raises:
        SchemaError: The data does not fit; says which part of it and what was expected.
        ValueError: The encoding is neither.
    """
    chosen = Encoding(encoding)
    if isinstance(schema, AvroSchema):
        check = check_json if chosen is Encoding.JSON else check_binary
        check(schema, data)
        return
    from poolhouse_pubsub.schemas.protobuf import check_protobuf_binary, check_protobuf_json  # noqa: PLC0415

    (check_protobuf_json if chosen is Encoding.JSON else check_protobuf_binary)(schema, data)
