"""What messages an object of a Cloud Storage bucket holds.

Source: IngestionDataSourceSettings.CloudStorage in google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any, Final

from poolhouse_pubsub import protos

_GLOB: Final = re.compile(r"\*\*|\*|\?|\[[^\]]*\]|\{[^}]*\}|.", re.DOTALL)


class ObjectError(Exception):
    """An object that is not in the format of its topic."""


def glob_pattern(glob: str) -> re.Pattern[str]:
    """Return the pattern of a `match_glob`: `*` and `?` stop at a slash, `**` does not (List objects using glob)."""
    return re.compile("".join(_piece(part) for part in _GLOB.findall(glob)), re.DOTALL)


def _piece(part: str) -> str:
    if part == "**":
        return ".*"
    if part == "*":
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if len(part) > 1 and part[0] == "[":
        inner = part[1:-1].replace("\\", r"\\")
        return f"[^{inner[1:]}]" if inner[:1] in ("!", "^") else f"[{inner}]"
    if len(part) > 1 and part[0] == "{":
        return f"(?:{'|'.join(re.escape(choice) for choice in part[1:-1].split(','))})"
    return re.escape(part)


def messages_of(content: bytes, source: Any) -> Iterator[Any]:
    """Yield the PubsubMessages of an object.

    Args:
        content: The object.
        source: The topic's `IngestionDataSourceSettings.CloudStorage`.

    Raises:
        ObjectError: It is not in the format; what came before is right.
    """
    match source.WhichOneof("input_format"):
        case "avro_format":
            yield from _avro(content)
        case "pubsub_avro_format":
            yield from _pubsub_avro(content)
        case _:
            lines = content.split(source.text_format.delimiter.encode())
            if not lines[-1]:
                lines.pop()  # the delimiter ends a line, it does not start one
            for line in lines:
                yield protos.PubsubMessage(data=line)


def _avro(content: bytes) -> Iterator[Any]:
    """Each datum of an Avro file, in Avro's binary encoding."""
    import fastavro  # noqa: PLC0415 - slow to import, and only where a file is Avro

    for schema, record in _records(content):
        out = io.BytesIO()
        with _as_object_errors():
            fastavro.schemaless_writer(out, schema, record)
        yield protos.PubsubMessage(data=out.getvalue())


def _pubsub_avro(content: bytes) -> Iterator[Any]:
    """Messages that a Cloud Storage subscription wrote, with their data and attributes."""
    for _, record in _records(content):
        if not isinstance(record, dict) or not isinstance(record.get("data"), bytes):
            raise ObjectError("a record has no field data of type bytes: no Cloud Storage subscription wrote it")
        attributes = record.get("attributes") or {}
        if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
            raise ObjectError("a record's attributes are no map of strings: no Cloud Storage subscription wrote it")
        key = attributes.pop("ordering_key", "")
        yield protos.PubsubMessage(data=record["data"], attributes=attributes, ordering_key=key)


def _records(content: bytes) -> Iterator[tuple[Any, Any]]:
    import fastavro  # noqa: PLC0415

    with _as_object_errors():
        reader = fastavro.reader(io.BytesIO(content))
        yield from ((reader.writer_schema, record) for record in reader)


@contextlib.contextmanager
def _as_object_errors() -> Iterator[None]:
    """What fastavro raises for a file that is none."""
    try:
        yield
    except (ValueError, EOFError, LookupError, TypeError, ArithmeticError, StopIteration) as error:
        raise ObjectError(f"the object is not a valid Avro file: {error}") from None
