"""Blocks of whole rows, cut from a stream of bytes.

Memory is bounded by the block, whatever the file: a row that does not fit into one is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from worker.transforms.tables.rows import occurrences

#: Bytes of a block: large enough for polars to work at full speed, small enough for several of them in memory.
BLOCK_BYTES = 4 * 1024 * 1024
#: The longest row, in bytes. A longer one is a broken file (a quote never closed, no line breaks) or an attack.
MAX_ROW_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Block:
    """Some whole rows of a file."""

    #: The rows, behind what `blocks` was told to put before them: a parser takes it as it is, with no copy.
    text: bytes
    #: Where the rows start in the (expanded) file.
    start: int
    #: Bytes of `text` before the rows.
    lead_bytes: int = 0

    @property
    def data(self) -> bytes:
        """The rows alone."""
        return self.text[self.lead_bytes :]

    @property
    def size_bytes(self) -> int:
        """Size of the rows."""
        return len(self.text) - self.lead_bytes

    @property
    def end(self) -> int:
        """Where they end in the file."""
        return self.start + self.size_bytes


class RowNotEnded(Exception):  # always turned into a Reject that names the line
    """The row that starts at `start` has no end within `MAX_ROW_BYTES`, or a quote that nothing closes."""

    def __init__(self, start: int, reason: str) -> None:
        super().__init__(reason)
        self.start = start


def blocks(source: IO[bytes], *, start: int = 0, lead: bytes = b"", quote: bytes = b'"') -> Iterator[Block]:
    """Cut `source` at line breaks that are not inside quotes.

    Whether a line break is quoted shows from the number of quotes before it: RFC 4180 escapes a quote by doubling it,
    which leaves the parity as it is.

    Args:
        start: where in the file `source` stands.
        lead: goes before the rows of every block.
        quote: the quoting character; empty for formats whose rows never hold a line break (NDJSON).

    Raises:
        RowNotEnded: a row longer than `MAX_ROW_BYTES`, or the last one ends inside of quotes.
    """
    rest, is_open = b"", False
    while data := source.read(BLOCK_BYTES):
        if quote and occurrences(data, quote) % 2:
            is_open = not is_open
        # What is left over holds no end of a row: the end is in `data`, or nowhere yet.
        cut = _last_row_end(data, quote, is_open=is_open)
        if cut:
            # Not counted here: line numbers cost as much as the cut, and only errors need them.
            block = Block(b"".join((lead, rest, memoryview(data)[:cut])), start, len(lead))
            yield block
            start = block.end
            rest = data[cut:]
        else:
            rest += data
        if len(rest) > MAX_ROW_BYTES:
            hint = ": is a quote not closed?" if is_open else ""
            raise RowNotEnded(start, f"a row is longer than {MAX_ROW_BYTES // 1024**2} MiB{hint}")
    if is_open:
        raise RowNotEnded(start, "a quote is not closed")
    if rest.strip(b"\r\n"):
        yield Block(lead + rest, start, len(lead))


def known_blocks(source: IO[bytes], ends: Iterable[int], *, start: int, lead: bytes) -> Iterator[Block]:
    """The same blocks again, of a source that has not changed: no need to look where rows end.

    Args:
        ends: the `end` of each block, as they came.
        start: where in the file `source` stands.
        lead: goes before the rows of every block.
    """
    for end in ends:
        yield Block(lead + read_up_to(source, end - start), start, len(lead))
        start = end


def read_up_to(source: IO[bytes], size_bytes: int) -> bytes:
    """That many bytes, fewer at the end alone: expanding streams give what they have."""
    data = source.read(size_bytes)
    while len(data) < size_bytes and (more := source.read(size_bytes - len(data))):
        data += more
    return data


def line_number(source: IO[bytes], offset: int) -> int:
    """The number, from 1, of the line that starts `offset` bytes into `source`."""
    line = 1
    while offset > 0 and (data := source.read(min(offset, BLOCK_BYTES))):
        line += data.count(b"\n")
        offset -= len(data)
    return line


def _last_row_end(data: bytes, quote: bytes, *, is_open: bool) -> int:
    """Where the last whole row of `data` ends, 0 if it ends none.

    Args:
        is_open: whether `data` ends inside quotes.
    """
    if not quote:
        return data.rfind(b"\n") + 1
    right = data.rfind(quote) if is_open else len(data)
    while right > 0:
        # All of data[left + 1:right] is outside quotes.
        left = data.rfind(quote, 0, right)
        cut = data.rfind(b"\n", left + 1, right) + 1
        if cut:
            return cut
        right = data.rfind(quote, 0, left) if left > 0 else 0
    return 0
