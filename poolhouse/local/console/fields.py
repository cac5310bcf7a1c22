"""A form made from a payload's schema, and the payload read from what was filled in. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from poolhouse.client.answers import Document
from poolhouse.client.schema import Payload, written
from poolhouse.pipeline.errors import ConfigError

_NUMBERS = frozenset({"integer", "number"})
_SCALARS = frozenset({"string", "boolean", *_NUMBERS})


class Kind(StrEnum):
    """How a field is filled in."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    CHOICE = "choice"
    FILE = "file"
    #: JSON, or a text that is none where the field takes one.
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a form."""

    name: str
    kind: Kind
    required: bool
    help: str = ""
    #: What holds where it is left empty; empty where nothing does.
    default: str = ""
    #: What a value may look like.
    example: str = ""
    choices: tuple[str, ...] = ()
    #: Whether only whole numbers fit.
    whole: bool = False
    #: What is in it.
    text: str = ""
    #: What is wrong with that.
    error: str = ""


def of(known: Payload, *, texts: Mapping[str, str], errors: Mapping[str, str]) -> list[Field]:
    """The fields of a payload's form.

    Args:
        known: the payload.
        texts: what is filled in, by field.
        errors: what is wrong with it, by field.
    """
    return [
        _field(known, name, text=texts.get(name, ""), error=errors.get(name, ""))
        for name in sorted(known.properties, key=lambda name: name not in known.required)
    ]


def payload(known: Payload, texts: Mapping[str, str]) -> Document:
    """What was filled in, as a payload: fields left empty are left out."""
    return {name: known.value(name, text) for name, text in texts.items() if text.strip() and name in known.properties}


def whole(text: str) -> Document:
    """A payload written as JSON. Raises `ConfigError` where it is none."""
    value = written(text or "{}", what="the payload")
    if not isinstance(value, dict):
        raise ConfigError("the payload is no JSON object: write {…}")
    return value


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """A payload as it is filled in: the inverse of `payload`."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def by_field(problems: Iterable[Mapping[str, Any]], known: Payload) -> dict[str, str]:
    """The API's `errors` by the field of the form that each is about; those about no such field under an empty name."""
    found: dict[str, str] = {}
    for problem in problems:
        path = str(problem["field"]).removeprefix("payload.")
        name = path.partition(".")[0]
        if name not in known.properties:
            name = ""
        message = str(problem["message"]) if name and path == name else f"{path}: {problem['message']}"
        found[name] = "; ".join(filter(None, (found.get(name), message)))
    return found


def _field(known: Payload, name: str, *, text: str, error: str) -> Field:
    schema = known.properties[name]
    parts = known.alternatives(schema)
    types = {part["type"] for part in parts if "type" in part} - {"null"}
    choices = tuple(str(choice) for part in parts for choice in _choices(part) if choice is not None)
    examples = schema.get("examples") or ()
    helps = [str(schema.get("description", ""))]
    kind = _kind(name, known, types=types, closed=bool(choices) and types <= {"string"})
    if kind is Kind.JSON:
        helps.append(f"JSON, or one of: {', '.join(dict.fromkeys(choices))}." if choices else "JSON.")
    return Field(
        name=name,
        kind=kind,
        required=name in known.required,
        help=" ".join(filter(None, helps)),
        default="" if schema.get("default") is None else _text(schema["default"]),
        example=_text(examples[-1]) if examples else "",
        choices=tuple(dict.fromkeys(choices)),
        whole="number" not in types,
        text=text,
        error=error,
    )


def _choices(part: Mapping[str, Any]) -> Sequence[Any]:
    return [part["const"]] if "const" in part else part.get("enum", ())


def _kind(name: str, known: Payload, *, types: set[str], closed: bool) -> Kind:
    if name in known.upload_fields:
        return Kind.FILE
    if closed:
        return Kind.CHOICE
    if types == {"boolean"}:
        return Kind.FLAG
    if types and types <= _NUMBERS:
        return Kind.NUMBER
    return Kind.TEXT if types and types <= _SCALARS else Kind.JSON


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
