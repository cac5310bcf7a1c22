"""The header row of a CSV file, and the types that its first rows show."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import islice

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.blocks import Block, RowNotEnded, blocks
from worker.transforms.tables.compression import expand
from worker.transforms.tables.csv_fields import has_stray_quote
from worker.transforms.tables.csv_table import CsvTable, not_utf8
from worker.transforms.tables.rows import Row, rows
from worker.transforms.tables.table import MAX_COLUMNS, TableFile, shortened

#: Rows that types are first inferred from.
SAMPLE_ROWS = 10_000
_BOM = b"\xef\xbb\xbf"


def open_csv(file: TableFile) -> CsvTable:
    """Read the header and the first rows of a CSV file.

    Raises:
        Reject: it is empty, has no valid header, or is not in UTF-8.
    """
    with file.path.open("rb") as raw:
        stream = expand(raw, file.compression, compressed_bytes=file.size_bytes)
        try:
            block = next(blocks(stream), None)
        except RowNotEnded as error:
            raise Reject(f"line 1: {error}") from error
    if block is None:
        raise Reject("the table is empty: not even a header row")
    header = next(rows(block.data, first_line=1))
    untyped = CsvTable(file, dict.fromkeys(_names(header, file.separator), pl.Null()), Block(header.data, 0))
    sample = b"".join(row.data for row in islice(rows(block.data, first_line=1), 1, SAMPLE_ROWS + 1))
    lead = untyped.lead
    return untyped.sample(Block(lead + sample, len(header.data), len(lead))) if sample else untyped


def _names(header: Row, separator: str) -> list[str]:
    data = header.data.removeprefix(_BOM)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, header.line) from None
    line = text.removesuffix("\n").removesuffix("\r")
    if not line.strip():
        raise Reject("line 1: the header row is empty")
    if line.lower().startswith("sep=") and len(line) == len("sep=") + 1:
        raise Reject(f"line 1: {line!r} is a note to Excel, not a header: remove the line")
    if "\r" in "".join(line.split('"')[::2]):
        raise Reject("line 1: carriage returns alone (as on old Macs) end no line: save it with line feeds")
    if has_stray_quote(Row(data, 1), separator.encode()):
        raise Reject("line 1: a quote of the header is not closed, or stands in the middle of a name")
    try:
        names = next(csv.reader([line], delimiter=separator))
    except csv.Error as error:  # such as a name of more than 128 KiB
        raise Reject("line 1: the header row is broken") from error
    if len(names) > MAX_COLUMNS:
        raise Reject(f"line 1: the header has {len(names)} columns, more than {MAX_COLUMNS}")
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise Reject(f"line 1: the header has the column {shortened(twice)} twice")
    return names
