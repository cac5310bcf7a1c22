"""Numbers that callers write as text, in queries, options, variables and forms: written as JSON writes them.

Python's own `int` and `float`, and pydantic's, read more: `1_0`, ` 5 `, `+5`, `٣`, `nan`. What other programs write, in
headers and attributes, is `digits`.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(_WHOLE.pattern + r"(\.[0-9]+)?([eE][+-]?[0-9]+)?")
#: Digits of a whole number; Python reads longer ones ever more slowly.
_MOST_DIGITS = 18


def whole(text: str) -> int:
    """Read a whole number. Raises `ValueError` with a text that has no subject."""
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number")
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"must be a whole number of at most {_MOST_DIGITS} digits")
    return int(text)


def number(text: str) -> float:
    """Read a number; one that is too large is infinite. Raises `ValueError` with a text that has no subject."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("must be a number")
    return float(text)


def digits(text: str, *, most: int = 4_000) -> int | None:
    """Read what ASCII digits alone write, leading zeros too (RFC 9110, Content-Length).

    Returns:
        None for anything else, and for more than `most` digits: Python reads no number of more than 4,300.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= most else None


def port(text: str) -> int:
    """Read the number of a port, 0 for any. Raises `ValueError` with a text that has no subject."""
    try:
        found = whole(text)
    except ValueError:
        found = -1
    if not 0 <= found <= 65535:
        raise ValueError(f"must be a number from 0 to 65535, not {text!r}")
    return found


def of_text(value: object, *, fraction: bool) -> object:
    """Return the number that a text is, and anything else as it is: for models whose values may be texts."""
    if not isinstance(value, str):
        return value
    return number(value) if fraction else whole(value)


#: Fields of models that read texts.
Whole = Annotated[int, BeforeValidator(lambda value: of_text(value, fraction=False), json_schema_input_type=int)]
Number = Annotated[float, BeforeValidator(lambda value: of_text(value, fraction=True), json_schema_input_type=float)]
