"""Rows of a CSV block, one by one: the slow way, to say which is wrong once it is known that one is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import nanoarrow
import polars as pl

QUOTE = b'"'


@dataclass(frozen=True)
class Row:
    """One row as it stands in the file, and the number of its first line."""

    data: bytes
    line: int


def rows(data: bytes, *, first_line: int, skip_blank: bool = False) -> Iterator[Row]:
    """The rows of a block; line breaks inside quotes do not end one.

    Args:
        first_line: the number of the block's first line.
        skip_blank: leave out empty lines; there may be millions.
    """
    pending: list[bytes] = []
    quotes = 0
    line = start = first_line
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for part in lines:
        if skip_blank and not pending and part in {b"", b"\r"}:
            line = start = line + 1
            continue
        pending.append(part + b"\n")
        quotes += part.count(QUOTE)
        line += 1
        if quotes % 2 == 0:
            yield Row(b"".join(pending), start)
            pending, start = [], line
    if pending:
        yield Row(b"".join(pending), start)


def separators(data: bytes, separator: bytes) -> int:
    """How many separators `data` has outside quotes."""
    if QUOTE not in data:
        return data.count(separator)
    # Every second part of a split at the quotes lies outside of them: all of it runs in C.
    return b"".join(data.split(QUOTE)[::2]).count(separator)


def octets(data: bytes) -> pl.Series:
    """The bytes as numbers, not copied: what is counted of them is counted in vector instructions."""
    return pl.Series(nanoarrow.c_array_from_buffers(nanoarrow.uint8(), len(data), [None, data]))


def occurrences(data: bytes, byte: bytes) -> int:
    """As `data.count(byte)`, in a tenth of the time where there are many."""
    return int((octets(data) == byte[0]).sum())
