"""Numbers that people write, in forms, queries and options: Python's own `int` and `float` read `1_0` and `٣` too."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def number(text: str) -> float:
    """Read a number; one that is too large is infinite. Raises `ValueError`."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("no number")
    return float(text)


def digits(text: str, *, most: int = 20) -> int | None:
    """Read what ASCII digits alone write, at most so many; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= most else None
