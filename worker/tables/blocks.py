"""Blocks of whole rows, cut from a stream of bytes.

Memory is bounded by the block, whatever the file: a row that does not fit into one is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from worker.errors import Reject

#: Bytes of a block: large enough for polars to work at full speed, small enough to hold several.
BLOCK_BYTES = 4 * 1024 * 1024
#: The longest row, in bytes. A longer one is a broken file (a quote never closed, no line breaks) or an attack.
MAX_ROW_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Block:
    """Some whole rows of a file."""

    data: bytes
    #: Number of the block's first line in the file, from 1.
    first_line: int
    #: Bytes of the file up to the end of this block.
    end_bytes: int


def blocks(source: IO[bytes], *, quote: bytes = b'"', first_line: int = 1) -> Iterator[Block]:
    """Cut `source` at line breaks that are not inside quotes.

    Whether a line break is quoted shows from the number of quotes before it: RFC 4180 escapes a quote by doubling it,
    which leaves the parity as it is.

    Args:
        quote: the quoting character; empty for formats whose rows never hold a line break (NDJSON).
        first_line: number of the stream's first line.

    Raises:
        Reject: a row longer than `MAX_ROW_BYTES`.
    """
    rest, end_bytes = b"", 0
    while data := source.read(BLOCK_BYTES):
        rest += data
        end_bytes += len(data)
        cut = _last_row_end(rest, quote)
        if cut:
            block, rest = rest[:cut], rest[cut:]
            yield Block(block, first_line, end_bytes - len(rest))
            first_line += block.count(b"\n")
        if len(rest) > MAX_ROW_BYTES:
            hint = ": is a quote not closed?" if quote and rest.count(quote) % 2 else ""
            raise Reject(f"line {first_line}: a row is longer than {MAX_ROW_BYTES // 1024**2} MiB{hint}")
    if rest.strip(b"\r\n"):
        yield Block(rest, first_line, end_bytes)


def _last_row_end(data: bytes, quote: bytes) -> int:
    """Where the last whole row of `data` ends, 0 if there is none."""
    if not quote:
        return data.rfind(b"\n") + 1
    right = len(data)
    if data.count(quote) % 2:  # the data ends inside quotes
        right = data.rfind(quote)
    while right > 0:
        # All of data[left + 1:right] is outside quotes.
        left = data.rfind(quote, 0, right)
        cut = data.rfind(b"\n", left + 1, right) + 1
        if cut:
            return cut
        right = data.rfind(quote, 0, left) if left > 0 else 0
    return 0
