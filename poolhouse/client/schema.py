"""Task types and their payloads as the API's OpenAPI document describes them, and `key=value` read by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolhouse.client.answers import Document
from poolhouse.pipeline import json_values
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.nearest import did_you_mean

_REF = "#/components/schemas/"
#: What the schemas of submits begin with; the task type is a constant in them.
_NEW_TASK = "NewTask."
#: What JSON Schema calls the types of JSON values; `True` is an int to Python, and so comes first.
_TYPES: tuple[tuple[type, frozenset[str]], ...] = (
    (bool, frozenset({"boolean"})),
    (int, frozenset({"integer", "number"})),
    (float, frozenset({"number"})),
    (str, frozenset({"string"})),
    (list, frozenset({"array"})),
    (dict, frozenset({"object"})),
)
#: `format` of a field that names a file in `uploads/` (`poolhouse.pipeline.names.FileName`).
UPLOAD_FORMAT = "upload"


class UnknownTaskType(ConfigError):
    """The API knows no such task type."""


@dataclass(frozen=True)
class Payload:
    """The fields of a task type's payload."""

    task_type: str
    properties: Mapping[str, Any]
    definitions: Mapping[str, Any]
    #: An example of it; empty where the document has none.
    example: Mapping[str, Any]
    #: Whether the payload may have fields that the document does not name.
    open: bool = False
    #: The fields that it must have.
    required: frozenset[str] = frozenset()
    #: What the task type does: the first line of its handler's docstring.
    summary: str = ""
    #: What the payload is: its model's docstring.
    description: str = ""
    #: The queues that a task may be put in instead of its type's own.
    queues: tuple[str, ...] = ()

    @property
    def upload_fields(self) -> tuple[str, ...]:
        """The fields that name an uploaded file."""
        return tuple(
            name
            for name, field in self.properties.items()
            if any(part.get("format") == UPLOAD_FORMAT for part in self.alternatives(field))
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The names of the operations or steps that its lists may hold, if it has such lists."""
        return frozenset(
            name
            for field in self.properties.values()
            for part in self.alternatives(field)
            for kind in (part, *self.alternatives(part.get("items", {})))
            for name in kind.get("discriminator", {}).get("mapping", {})
        )

    def value(self, name: str, text: str) -> Any:
        """What `NAME=TEXT` says: JSON where the field takes such a value, else the text itself.

        Raises:
            ConfigError: a field of numbers is given one that JSON has none for.
        """
        types = {
            kind for part in self.alternatives(self.properties.get(name, {})) if (kind := part.get("type")) is not None
        }
        data = text.encode()
        try:
            value = json_values.parse(data)
        except ValueError:
            if "number" in types and "string" not in types and _is_not_finite(text):
                raise ConfigError(f"{name}: {text} is no number that JSON has") from None
            return text
        fits = value is None or next(names for kind, names in _TYPES if isinstance(value, kind)) & types
        return text if "string" in types and not fits else value

    def alternatives(self, field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """A field's schema, or those of which it may fit any."""
        if "$ref" in field:
            return self.alternatives(self.definitions.get(str(field["$ref"]).removeprefix(_REF), {}))
        parts = [part for key in ("anyOf", "oneOf", "allOf") for part in field.get(key, ())]
        return [field, *(found for part in parts for found in self.alternatives(part))]


def _new_tasks(openapi: Document) -> Document:
    """The schemas of submits, by task type."""
    schemas = openapi["components"]["schemas"].items()
    return {
        schema["properties"]["task_type"]["const"]: schema for name, schema in schemas if name.startswith(_NEW_TASK)
    }


def _is_not_finite(text: str) -> bool:
    """Whether Python reads a number there that is none: a model would take it from a text."""
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False


def written(text: str, *, what: str) -> Any:
    """Parse user-written JSON; `what` names the source in errors. Raises `ConfigError`."""
    data = text.encode()
    try:
        return json_values.parse(data)
    except ValueError as error:
        raise ConfigError(f"{what} is not JSON: {error}") from None


def task_types(openapi: Document) -> list[str]:
    """The task types that may be submitted."""
    return list(_new_tasks(openapi))


def queues(openapi: Document) -> tuple[str, ...]:
    """The queues that a task may be put in; empty where there is no task type yet."""
    return next((payload(openapi, name).queues for name in task_types(openapi)), ())


def payload(openapi: Document, task_type: str) -> Payload:
    """A task type's payload.

    Raises:
        UnknownTaskType: the text names those there are.
    """
    schemas = openapi["components"]["schemas"]
    new_task = _new_tasks(openapi).get(task_type)
    if new_task is None:
        known = sorted(task_types(openapi))
        near = did_you_mean(task_type, known)
        raise UnknownTaskType(f"there is no task type {task_type!r} (there are: {', '.join(known) or 'none'}).{near}")
    found = new_task["properties"]["payload"]
    found = found.get("allOf", [found])[0]
    if "$ref" in found:
        found = schemas[found["$ref"].removeprefix(_REF)]
    return Payload(
        task_type,
        found.get("properties", {}),
        schemas,
        example=dict(examples[0].get("payload") or {}) if (examples := new_task.get("examples")) else {},
        open=found.get("additionalProperties", True) is not False,
        required=frozenset(found.get("required", ())),
        summary=new_task.get("description", ""),
        description=found.get("description", ""),
        queues=tuple(name for name in new_task["properties"].get("queue", {}).get("enum", ()) if name is not None),
    )


def fields(words: Sequence[str], known: Payload) -> Document:
    """Read `key=value` words as fields of a payload.

    Raises:
        ConfigError: a word is none, a key comes twice, or the task type has no such field.
    """
    read: Document = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"{word!r}: write key=value, such as {_example(known)}")
        if name in read:
            raise ConfigError(f"{name} is given twice")
        if not known.open and name not in known.properties:
            there_are = ", ".join(known.properties) or "none"
            near = did_you_mean(name, known.properties)
            raise ConfigError(f"{known.task_type} has no field {name!r} (it has: {there_are}).{near}")
        read[name] = known.value(name, text)
    return read


def _example(known: Payload) -> str:
    return f"{next(iter(known.properties), 'key')}=…"
