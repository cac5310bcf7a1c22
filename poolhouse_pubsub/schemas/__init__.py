"""Avro and Protocol Buffers schemas of the emulator, as functions without state.

``parse_schema(type, definition)`` gives a parsed schema (keep it: parsing costs), ``check_compatible(old, new)``
compares two as revisions, ``validate_message(schema, data, encoding)`` checks a message. All raise ``SchemaError``,
whose text is meant for the caller of the API.
"""

from __future__ import annotations

from poolhouse_pubsub.schemas.errors import SchemaError
from poolhouse_pubsub.schemas.schema import (
    MAX_DEFINITION_BYTES,
    Encoding,
    ParsedSchema,
    SchemaType,
    check_compatible,
    parse_compiled_schema,
    parse_schema,
    validate_message,
)

__all__ = [
    "MAX_DEFINITION_BYTES",
    "Encoding",
    "ParsedSchema",
    "SchemaError",
    "SchemaType",
    "check_compatible",
    "parse_compiled_schema",
    "parse_schema",
    "validate_message",
]
