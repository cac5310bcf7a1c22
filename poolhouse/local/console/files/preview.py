"""What is in a file, as far as a page can show it without running any of it.

What a file is, its first bytes decide: neither its name nor its media type, which whoever sent it has chosen. Images
and PDFs go to the browser's own decoders under a media type of a fixed list; everything else becomes text on the page.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from poolhouse.local.console.files import objects, parquet
from poolhouse.local.console.files.bucket import FileInfo
from poolhouse.local.console.task.json_tree import Node, tree

#: Bytes of a file that are read for a preview, and characters of text that are shown of them.
HEAD_BYTES, MOST_CHARACTERS = 256 * 1024, 50_000
#: Rows and columns of a table, and characters of one value.
MOST_ROWS, MOST_COLUMNS, MOST_CELL = 100, 40, 200
#: The largest image or PDF that a page loads by itself.
MOST_EMBEDDED_BYTES = 20 * 1000**2
_SHOWN_BYTES = 512
#: Bytes of one character of UTF-8, at the most.
_CHARACTER_BYTES = 4
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


class Kind(StrEnum):
    """How it is shown."""

    IMAGE = "image"
    PDF = "pdf"
    TABLE = "table"
    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"
    EMPTY = "empty"


@dataclass(frozen=True, kw_only=True)
class Table:
    """The beginning of a table, its values as text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: Columns that are left out.
    more_columns: int


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What the page shows."""

    kind: Kind
    text: str = ""
    table: Table | None = None
    json: Node | None = None
    #: Whether there is more in the file.
    cut: bool = False
    #: Why it is not shown as what it is; empty where it is.
    hint: str = ""


def embedded_type(head: bytes) -> str | None:
    """The media type of an image or a PDF that a browser may show, by its first bytes; None for all else."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for signature, media_type in _SIGNATURES if head.startswith(signature)), None)


def preview(info: FileInfo, head: bytes, *, whole: Callable[[int], bytes | None]) -> Preview:
    """Make a preview.

    Args:
        info: the object.
        head: its first `HEAD_BYTES` bytes.
        whole: reads all of it, given the most bytes; None where it has more.
    """
    # Fewer bytes are all that there are, whatever the size says: that of a compressed object is another.
    cut = len(head) >= HEAD_BYTES and info.size_bytes != len(head)
    if not head:
        return Preview(kind=Kind.EMPTY)
    if (media_type := embedded_type(head)) is not None:
        large = info.size_bytes is None or info.size_bytes > MOST_EMBEDDED_BYTES
        kind = Kind.PDF if media_type == "application/pdf" else Kind.IMAGE
        return Preview(kind=kind, hint="It is too large to be shown here: download it." if large else "")
    if head.startswith(parquet.SIGNATURE):
        return _parquet(head, whole)
    text = _text(head, cut=cut)
    if text is None:
        shown = head[:_SHOWN_BYTES]
        return Preview(kind=Kind.BYTES, text=_dump(shown), cut=len(head) > len(shown))
    if not cut and text.lstrip().startswith(("{", "[")) and (value := _json(text)) is not None:
        return Preview(kind=Kind.JSON, json=tree(value, link=objects.link), text=text)
    if (delimiter := _delimiter(info, text)) and (rows := _rows(text, delimiter, cut=cut)):
        header, *others = rows
        more = cut or len(others) > MOST_ROWS
        return Preview(kind=Kind.TABLE, table=_table(header, others[:MOST_ROWS]), cut=more)
    return Preview(kind=Kind.TEXT, text=text[:MOST_CHARACTERS], cut=cut or len(text) > MOST_CHARACTERS)


def _parquet(head: bytes, whole: Callable[[int], bytes | None]) -> Preview:
    found = parquet.read(whole, most_rows=MOST_ROWS)
    if isinstance(found, str):
        return Preview(kind=Kind.BYTES, text=_dump(head[:64]), cut=True, hint=found)
    header, rows, more = found
    return Preview(kind=Kind.TABLE, table=_table(header, rows), cut=more)


def _text(head: bytes, *, cut: bool) -> str | None:
    """The text of a file; None where it is none."""
    if b"\0" in head:
        return None
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not cut or len(head) - error.start >= _CHARACTER_BYTES:
            return None
        return head[: error.start].decode("utf-8-sig")  # its last character was cut in two


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _delimiter(info: FileInfo, text: str) -> str:
    """What separates the columns of a table; empty where it is none."""
    name = info.name.lower()
    if name.endswith(".tsv"):
        return "\t"
    if not (name.endswith(".csv") or (info.content_type or "").startswith("text/csv")):
        return ""
    first = text.partition("\n")[0]
    return max(",;\t|", key=first.count)


def _rows(text: str, delimiter: str, *, cut: bool) -> list[list[str]]:
    """The header, the rows that are shown and one more; none where it is no table."""
    if cut:
        text = text.rpartition("\n")[0]  # the last line may not be whole
    try:
        return list(islice(csv.reader(io.StringIO(text), delimiter=delimiter), MOST_ROWS + 2))
    except csv.Error:
        return []


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    columns = max(len(header), *(len(row) for row in rows)) if rows else len(header)

    def cells(row: Sequence[str]) -> list[str]:
        shown = [cell if len(cell) <= MOST_CELL else f"{cell[:MOST_CELL]}…" for cell in row[:MOST_COLUMNS]]
        return shown + [""] * (min(columns, MOST_COLUMNS) - len(shown))

    return Table(header=cells(header), rows=[cells(row) for row in rows], more_columns=max(0, columns - MOST_COLUMNS))


def _dump(data: bytes) -> str:
    """Bytes as `xxd` writes them."""
    lines = []
    for start in range(0, len(data), 16):
        row = data[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row.hex(' '):<47}  {shown}")
    return "\n".join(lines)
