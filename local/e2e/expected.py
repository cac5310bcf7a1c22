"""What must come out, computed by other means: the standard library, none of the code under test."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import math
import statistics
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from poolhouse.local.e2e.compare import same

Row = dict[str, str]


def rows(data: bytes) -> list[Row]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def typed(data: bytes) -> list[dict[str, Any]]:
    """The rows of a CSV file with numbers as numbers, and None where there is no value."""
    return [{column: _value(text) for column, text in row.items()} for row in rows(data)]


def fingerprint(data: bytes) -> dict[str, Any]:
    """Size and checksums as a file report has them."""
    return {
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "crc32c": base64.b64encode(struct.pack(">I", crc32c(data))).decode(),
    }


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 3720, appendix B.4), byte by byte."""
    table = _crc32c_table()
    value = 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height, out of the header."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise ValueError("not a PNG image")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def table(data: bytes) -> dict[str, Any]:
    """Rows, columns and empty cells of a CSV file."""
    found = rows(data)
    columns = list(found[0])
    return {
        "rows": len(found),
        "columns": columns,
        "null_counts": {column: sum(not row[column] for row in found) for column in columns},
    }


def text(data: bytes) -> dict[str, Any]:
    """Lines and words of a text."""
    content = data.decode()
    return {"lines": len(content.splitlines()), "words": len(content.split())}


def grouped(data: bytes, *, by: str, column: str) -> dict[str, dict[str, float]]:
    """Count, sum, mean and median of a column, by the values of another."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows(data):
        if row[column]:
            values[row[by]].append(float(row[column]))
    return {
        group: {
            "orders": len(numbers),
            "total": math.fsum(numbers),
            "mean": statistics.fmean(numbers),
            "median": statistics.median(numbers),
        }
        for group, numbers in values.items()
    }


def normalized(data: bytes, column: str) -> list[float]:
    """A column's values, each as (x - min) / (max - min)."""
    numbers = [float(row[column]) for row in rows(data)]
    low, high = min(numbers), max(numbers)
    return [(number - low) / (high - low) for number in numbers]


def series_differences(found: Iterable[float], wanted: Iterable[float], what: str) -> list[str]:
    """Whether two series of numbers are the same; the first difference is enough."""
    ours, theirs = list(found), list(wanted)
    if len(ours) != len(theirs):
        return [f"{what}: {len(ours)} values, expected {len(theirs)}"]
    for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if not same(one, other):
            return [f"{what}: value {index} is {one!r}, expected {other!r}"]
    return []


def row_differences(found: Sequence[Row], wanted: Sequence[Row], *, columns: Sequence[str] = ()) -> list[str]:
    """Whether the rows of two CSV files are the same, as values; the first difference is enough.

    Args:
        columns: those that count; empty: all.
    """
    if len(found) != len(wanted):
        return [f"{len(found)} rows, expected {len(wanted)}"]
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True), start=1):
        names = columns or tuple(theirs)
        if not columns and ours.keys() != theirs.keys():
            return [f"columns {', '.join(ours)}, expected {', '.join(theirs)}"]
        for name in names:
            if not same(_value(ours[name]), _value(theirs[name])):
                return [f"row {number}, {name}: {ours[name]!r}, expected {theirs[name]!r}"]
    return []


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


@cache
def _crc32c_table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return tuple(entries)
