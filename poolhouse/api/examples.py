"""Examples of payloads, made of their schemas: for the OpenAPI document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from poolhouse.api.result_schemas import REF

#: What is nested deeper ends there: a model that can't do without itself has no example.
_MOST_DEPTH = 50
_TEXTS = {
    "date": "2030-01-31",
    "date-time": "2030-01-31T08:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "08:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], *, inside: tuple[str, ...] = (), depth: int = 0
) -> Any:
    """Return a value that fits a schema: its own example, default or bound where it has one.

    Args:
        schema: what to make one of.
        definitions: the schemas that it refers to.
        inside: those that it is part of.
        depth: how deep it is nested.
    """
    if depth > _MOST_DEPTH:
        return None
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        return example(definitions[name], definitions, inside=(*inside, name), depth=depth + 1)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            # Of alternatives one that does not begin again what it is part of.
            part = next((part for part in schema[key] if _name(part) not in inside), schema[key][0])
            return example(part, definitions, inside=inside, depth=depth + 1)
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {
                name: example(properties[name], definitions, inside=inside, depth=depth + 1)
                for name in schema.get("required", [])
            }
        case "array":
            return [example(part, definitions, inside=inside, depth=depth + 1) for part in _items(schema, inside)]
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "string":
            text = _TEXTS.get(schema.get("format", ""), "text")
            return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
        case _:
            return None


def _items(schema: Mapping[str, Any], inside: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """The schemas of an example's items: one of each, unless that begins again what the list is part of."""
    first = schema.get("prefixItems", [])
    if "items" not in schema or not isinstance(schema["items"], Mapping):
        return list(first)
    least = 0 if _name(schema["items"]) in inside else 1
    return [*first, *[schema["items"]] * max(schema.get("minItems", least) - len(first), 0)]


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).removeprefix(REF)


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """A number within its bounds: the lowest, else the highest, else 1."""
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    value: float = 1
    if least is not None:
        value = least
    elif above is not None:
        value = above + 1 if whole or below is None or above + 1 < below else (above + below) / 2
    elif most is not None:
        value = most
    elif below is not None:
        value = below - 1
    step = schema.get("multipleOf")
    return step * math.ceil(value / step) if step else value
