"""JSON read strictly: no NaN, no repeated keys, no bytes that are not UTF-8."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from poolhouse_pubsub.schemas.errors import SchemaError


def load_json(text: str | bytes, *, what: str) -> Any:
    """Parse a JSON text.

    Args:
        text: The text; bytes must be UTF-8.
        what: What it is, for the message of a refusal ("the Avro definition").

    Raises:
        SchemaError: It is not JSON.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(decoded, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise SchemaError(f"{what} is not JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise SchemaError(f"{what} is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, our own refusals, and integers of thousands of digits.
        raise SchemaError(f"{what} is not JSON: {error}") from None


def short(value: Any) -> str:
    """Write a parsed JSON value for a message, cut to 40 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        (repeated, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {repeated!r} appears twice in one object")
    return members
