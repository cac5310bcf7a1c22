"""Opening a table file by its format."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from poolhouse.worker.errors import Reject
from worker.transforms.tables import compression
from worker.transforms.tables.csv_table import open_csv
from worker.transforms.tables.ndjson_table import open_ndjson
from worker.transforms.tables.parquet_table import open_parquet
from worker.transforms.tables.table import Format, Table, TableFile

#: Bytes that the format and the separator are read from.
HEAD_BYTES = 64 * 1024
SEPARATORS = (",", ";", "\t", "|")
_PARQUET_MAGIC = b"PAR1"
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
        packed = compression.sniff(raw.read(4))
        raw.seek(0)
        head = compression.expand(raw, packed, compressed_bytes=size_bytes).read(HEAD_BYTES)
    if not head:
        raise Reject(f"{name} is empty once expanded")
    if head.startswith(_PARQUET_MAGIC):
        if packed:
            raise Reject(f"{name}: Parquet inside {packed} can't be read in pieces: upload the Parquet file itself")
        return TableFile(path=path, format="parquet")
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
            if raw.read(4) != _PARQUET_MAGIC:
                raise Reject("not a Parquet file: its first bytes are not PAR1")
        return open_parquet(file)
    return open_csv(file) if file.format == "csv" else open_ndjson(file)


def separator(head: bytes) -> str:
    """The field separator of a CSV file: the one that most rows have as often as the header."""
    best, most = ",", 0
    for candidate in SEPARATORS:
        widths = _widths(head, candidate)
        if widths and widths[0] > 1:
            agreeing = sum(width == widths[0] for width in widths) * 1_000 + widths[0]
            if agreeing > most:
                best, most = candidate, agreeing
    return best


def looks_like_csv(head: bytes) -> bool:
    """Whether text without a telling name is CSV: at least two rows, all of the same width, and that above one."""
    widths = _widths(head, separator(head))
    return len(widths) >= 2 and widths[0] > 1 and len(Counter(widths)) == 1


def _widths(head: bytes, candidate: str) -> list[int]:
    text = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
    if len(head) >= HEAD_BYTES:
        text = text[: text.rfind("\n") + 1]  # the last row is cut off
    try:
        return [len(row) for row in csv.reader(text.splitlines(keepends=True), delimiter=candidate) if row][:200]
    except csv.Error:
        return []
