"""Lines of NDJSON, one by one: the slow way, to say which is wrong once it is known that one may be."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from worker.transforms.tables.table import MAX_DEPTH, inexact_as_float

_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_INNERMOST = re.compile(rb"\[[^\[\]{}]*\]|\{[^\[\]{}]*\}")
_LONG = r"^-?[0-9]{16,}$"


def complaint(data: bytes, first_line: int) -> str:
    """What is wrong with the first broken line, or the first that does not go with those before."""
    kinds: dict[str, str] = {}
    for index, line in enumerate(data.split(b"\n")):
        number = first_line + index
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=_no_constant, parse_int=_whole)
        except UnicodeDecodeError:
            return f"line {number}: not UTF-8"
        except RecursionError:
            return f"line {number}: it is nested too deeply"
        except json.JSONDecodeError as error:
            return f"line {number}: not JSON: {error.msg} at character {error.colno}"
        except ValueError as error:
            return f"line {number}: not JSON: {error}"
        if not isinstance(value, dict):
            return f"line {number}: {json.dumps(value)[:60]} is no JSON object"
        for key, part in value.items():
            if isinstance(part, int) and not -(2**127) <= part < 2**127:
                return f"line {number}: {key!r} holds a number of too many digits: write it as text"
            if part in (float("inf"), float("-inf")):
                return f"line {number}: {key!r} holds a number that no float is large enough for"
            kind, known = _kind(part), kinds.get(key)
            if kind and known and kind != known:
                return f"line {number}: {key!r} holds {kind} where earlier lines have {known}"
            if kind:
                kinds[key] = kind
    return f"line {first_line} and following: a key holds values of types that have nothing in common"


def _whole(digits: str) -> int:
    """The number; of more digits than Python reads, one that is as far beyond what a table holds."""
    return int(digits) if len(digits) < 1_000 else 2**127


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number: write null")


def _kind(value: Any) -> str | None:
    kinds = {bool: "true or false", int: "numbers", float: "numbers", str: "texts", list: "lists", dict: "objects"}
    return kinds.get(type(value))


def deep_line(data: bytes) -> int | None:
    """The index of the first line nested deeper than a table may be: some hundred levels take polars minutes."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return None
    return next((n for n, line in _numbered(data) if _is_deep(line)), None)


def _is_deep(line: bytes) -> bool:
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH + 1:
        return False
    rest = _TEXT.sub(b"", line)
    for _ in range(MAX_DEPTH + 1):  # the line itself is an object
        rest, pairs = _INNERMOST.subn(b"", rest)
        if not pairs:
            return False
    return _INNERMOST.search(rest) is not None


def lone_surrogate(data: bytes) -> int | None:
    """The index of the first line that has half of a character's escape without the other half (RFC 8259, 8.2)."""
    return next((n for n, line in _numbered(data) if b"\\u" in line and _HALF.search(_PAIR.sub(b"", line))), None)


def mixed_line(data: bytes, keys: Iterable[str]) -> tuple[int, str] | None:
    """The first line, by its index, in which one of the keys holds a list or an object, and the key."""
    for number, line in _numbered(data):
        value = json.loads(line)
        for key in keys:
            if isinstance(value.get(key), list | dict):
                return number, key
    return None


def repeated_key(data: bytes) -> tuple[int, str] | None:
    """The first line, by its index, that has a key twice, and the key."""
    for number, line in _numbered(data):
        pairs = json.loads(line, object_pairs_hook=list)
        counted = Counter(key for key, _ in pairs)
        if len(counted) < len(pairs):
            return number, counted.most_common(1)[0][0]
    return None


def wide_number(texts: pl.Series) -> bool:
    """Whether an integer is among these numbers that no float holds."""
    digits = texts.filter(texts.str.contains(_LONG)).drop_nulls()
    whole = digits.cast(pl.Int128, strict=False)
    return bool(whole.null_count()) or inexact_as_float(whole)


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, line) for number, line in enumerate(data.split(b"\n")) if line.strip())
