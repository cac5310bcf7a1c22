"""Opening a table file by its format."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import islice
from pathlib import Path

from poolhouse.worker.errors import Reject
from worker.transforms.tables import compression
from worker.transforms.tables.blocks import read_up_to
from worker.transforms.tables.csv_header import open_csv
from worker.transforms.tables.ndjson_table import open_ndjson
from worker.transforms.tables.parquet_table import open_parquet
from worker.transforms.tables.signatures import is_parquet, why_no_table
from worker.transforms.tables.table import Format, Table, TableFile

#: Bytes that the format and the separator are read from.
HEAD_BYTES = 64 * 1024
SEPARATORS = (",", ";", "\t", "|")
_FORMATS: dict[str, Format] = {
    "csv": "csv",
    "tsv": "csv",
    "ndjson": "ndjson",
    "jsonl": "ndjson",
    "parquet": "parquet",
    "pq": "parquet",
}


def find_table(path: Path, name: str) -> TableFile:
    """What table a file holds: by its first bytes, and by the ending of `name` where those don't tell.

    Raises:
        Reject: it holds none that is known.
    """
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise Reject(f"{name} is empty")
    with path.open("rb") as raw:
        packed = compression.sniff(raw.read(HEAD_BYTES))
        raw.seek(0)
        head = read_up_to(compression.expand(raw, packed, compressed_bytes=size_bytes), HEAD_BYTES)
    if not head:
        raise Reject(f"{name} is empty once expanded")
    if is_parquet(head):
        if packed:
            raise Reject(f"{name}: Parquet inside {packed} can't be read in pieces: upload the Parquet file itself")
        return TableFile(path=path, format="parquet")
    wrong = why_no_table(head)
    if wrong:
        raise Reject(f"{name} {wrong}")
    return TableFile(
        path=path,
        format=named_format(name) or _guessed(head, name),
        compression=packed,
        separator=separator(head),
    )


def named_format(name: str) -> Format | None:
    """The table format that a file's ending names: `data.csv.gz` is CSV."""
    endings = [ending for ending in name.lower().split(".")[1:] if ending not in {"gz", "gzip", "zst", "zstd"}]
    return _FORMATS.get(endings[-1]) if endings else None


def _guessed(head: bytes, name: str) -> Format:
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{"):
        return "ndjson"
    if looks_like_csv(head):
        return "csv"
    raise Reject(f"{name} holds no table: CSV, NDJSON and Parquet are read, also as gzip or zstd")


def open_table(file: TableFile) -> Table:
    """The table in a file. Raises `Reject` where it is broken from the start."""
    if file.format == "parquet":
        with file.path.open("rb") as raw:
            if not is_parquet(raw.read(4)):
                raise Reject("not a Parquet file: its first bytes are not PAR1")
        return open_parquet(file)
    return open_csv(file) if file.format == "csv" else open_ndjson(file)


def separator(head: bytes) -> str:
    """The field separator of a CSV file: the one that most rows have as often as the header.

    Where the first row has none, but most others the same number of one: that one. The first row is a title or a
    comment then, which shows when the others turn out to be wider.
    """
    best, most = ",", 0
    below: list[str] = []
    for candidate in SEPARATORS:
        widths = _widths(head, candidate)
        if widths and widths[0] > 1:
            agreeing = sum(width == widths[0] for width in widths) * 1_000 + widths[0]
            if agreeing > most:
                best, most = candidate, agreeing
        elif len(widths) > 2:
            width, count = Counter(widths[1:]).most_common(1)[0]
            if width > 1 and count * 2 > len(widths):
                below.append(candidate)
    return below[0] if not most and below else best


def looks_like_csv(head: bytes) -> bool:
    """Whether text without a telling name is CSV: at least two rows, all of the same width, and that above one."""
    widths = _widths(head, separator(head))
    return len(widths) >= 2 and widths[0] > 1 and len(Counter(widths)) == 1


def _widths(head: bytes, candidate: str) -> list[int]:
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    if len(head) >= HEAD_BYTES:
        text = text[: text.rfind("\n") + 1] or text  # the last row is cut off; a header alone may be longer
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=candidate)
        return [len(row) for row in islice(filter(None, rows), 200)]
    except csv.Error:
        return []
