"""CSV files as tables."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import polars as pl

from worker.errors import Reject
from worker.tables.blocks import Block, blocks
from worker.tables.compression import expand
from worker.tables.pipeline import in_order
from worker.tables.rows import rows, separators
from worker.tables.table import Format, TableFile, TypesChanged, Watch, shortened, widest

#: A CSV of more columns is a broken file; each costs a few hundred bytes a block.
MAX_COLUMNS = 10_000
#: Rows that types are first inferred from.
SAMPLE_ROWS = 10_000
#: The types that inference gives; everything else (dates too) stays text until a `cast` step says otherwise.
_INFERRED = (pl.Int64, pl.Float64, pl.Boolean, pl.Null)
#: Codes such as 00501: numbers to polars, but their zeros would be gone.
_LEADING_ZERO = r"^-?0\d"
_NUMBER = r"^-?(\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+|nan|NaN|inf|Infinity)$"
_Parsed = TypeVar("_Parsed")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class CsvTable:
    """A CSV file with a header row, in UTF-8; `open_csv` makes one."""

    file: TableFile
    types: Mapping[str, pl.DataType]
    header: Block
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> Format:
        return "csv"

    def why(self, column: str) -> str:
        return self.evidence.get(column, "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        for block, frame in self._parsed(watch, lambda block: self._parse(block, columns)):
            if frame is None:
                raise TypesChanged(self._retyped(block, watch))
            yield frame

    def _parsed(self, watch: Watch, parse: Callable[[Block], _Parsed]) -> Iterator[tuple[Block, _Parsed]]:
        size_bytes = self.file.size_bytes
        with self.file.path.open("rb") as raw, ThreadPoolExecutor(2, thread_name_prefix="csv") as pool:
            stream = expand(raw, self.file.compression, compressed_bytes=size_bytes)
            for block, parsed in in_order(pool, parse, self._body(blocks(stream))):
                watch(raw.tell(), size_bytes)
                yield block, parsed

    def _body(self, source: Iterator[Block]) -> Iterator[Block]:
        for number, block in enumerate(source):
            if number:
                yield block
                continue
            data = block.data[len(self.header.data) :]
            if data:
                yield Block(data, self.header.first_line + self.header.data.count(b"\n"), block.end_bytes)

    def _parse(self, block: Block, columns: Sequence[str] | None) -> pl.DataFrame | None:
        """The block as a frame, None where the types don't fit it."""
        names = list(self.types)
        try:
            frame = self._read(block.data, list(self.types.values()))
        except pl.exceptions.ComputeError as error:
            self._check_rows(block)
            if "could not parse" in str(error) and "not properly escaped" not in str(error):
                return None
            raise Reject(f"line {block.first_line} and following: {_first_line(error)}") from error
        expected = frame.height * (len(names) - 1)
        if len(names) > 1 and separators(block.data, self.file.separator.encode()) != expected:
            return self._parse(self._check_rows(block), columns)
        frame.columns = names
        return frame if columns is None else frame.select(columns)

    def _read(self, data: bytes, types: Sequence[pl.DataType]) -> pl.DataFrame:
        # A header of our own: polars takes the width of a block from its first row, which may be the broken one.
        return pl.read_csv(
            self._with_header(data),
            separator=self.file.separator,
            schema={str(number): dtype for number, dtype in enumerate(types)},
        )

    def _with_header(self, data: bytes) -> bytes:
        numbers = self.file.separator.join(str(number) for number in range(len(self.types)))
        return b"".join((numbers.encode(), b"\n", data))

    def _check_rows(self, block: Block) -> Block:
        """The block without its blank lines; raises `Reject` for the first row of another width, or not in UTF-8."""
        separator, width, kept = self.file.separator.encode(), len(self.types), []
        for row in rows(block.data, first_line=block.first_line):
            if row.is_blank and width > 1:
                continue
            fields = separators(row.data, separator) + 1
            if fields != width:
                raise Reject(f"line {row.line}: the row has {fields} fields, the header {width}")
            _decode(row.data, row.line)
            kept.append(row.data)
        return replace(block, data=b"".join(kept))

    def _retyped(self, failed: Block, watch: Watch) -> CsvTable:
        """The table with types that hold for every row: one more pass, inferring them block by block."""
        types, evidence = dict(self.types), dict(self.evidence)

        def infer(block: Block) -> tuple[Block, list[pl.DataType], pl.DataFrame]:
            block = self._check_rows(block)
            return block, *self._inferred(block)

        for block, (clean, found, texts) in self._parsed(watch, infer):
            if block.end_bytes < failed.end_bytes:
                continue
            for name, dtype, series in zip(types, found, texts, strict=True):
                known = types[name]
                types[name] = widest(known, dtype)
                if types[name] == pl.String() != known:
                    evidence[name] = _misfit(series, known, clean)
        return replace(self, types=types, evidence=evidence)

    def _inferred(self, block: Block) -> tuple[list[pl.DataType], pl.DataFrame]:
        """The types that a block's columns have on their own (Null: no value), and the columns as text."""
        width = len(self.types)
        texts = self._read(block.data, [pl.String()] * width)
        names = texts.columns
        guessed = pl.read_csv(
            self._with_header(block.data), separator=self.file.separator, infer_schema_length=None
        ).schema
        return [_settled(guessed[name], texts[name]) for name in names], texts


def open_csv(file: TableFile) -> CsvTable:
    """Read the header and the first rows of a CSV file.

    Raises:
        Reject: it is empty, has no valid header, or is not in UTF-8.
    """
    with file.path.open("rb") as raw:
        stream = expand(raw, file.compression, compressed_bytes=file.size_bytes)
        block = next(blocks(stream), None)
    if block is None:
        raise Reject("the table is empty: not even a header row")
    header = _header_block(block)
    names = _names(header, file.separator)
    untyped = CsvTable(file, dict.fromkeys(names, pl.String()), header)
    body = Block(block.data[len(header.data) :], header.first_line + header.data.count(b"\n"), block.end_bytes)
    return replace(untyped, types=_sampled_types(untyped, body, names))


def _sampled_types(table: CsvTable, body: Block, names: Sequence[str]) -> dict[str, pl.DataType]:
    sample = b"".join(row.data for row in islice(rows(body.data, first_line=body.first_line), SAMPLE_ROWS))
    if not sample:
        return dict.fromkeys(names, pl.String())
    found, _ = table._inferred(table._check_rows(replace(body, data=sample)))
    # No value yet: the narrowest type, so that the first value that is no integer is noticed.
    return {name: pl.Int64() if dtype == pl.Null() else dtype for name, dtype in zip(names, found, strict=True)}


def _settled(guessed: pl.DataType, texts: pl.Series) -> pl.DataType:
    if texts.null_count() == len(texts):
        return pl.Null()
    if guessed == pl.Int64() and texts.str.contains(_LEADING_ZERO).any():
        return pl.String()
    if guessed == pl.String() and texts.str.contains(_NUMBER).all():
        return pl.Float64()  # polars reads NaN and infinities as floats, but does not guess them
    return guessed if guessed in _INFERRED else pl.String()


def _misfit(texts: pl.Series, known: pl.DataType, block: Block) -> str:
    fits = texts.str.contains("^(true|false)$" if known == pl.Boolean() else _NUMBER)
    index = fits.not_().arg_true().min()
    if not isinstance(index, int):
        return ""
    row = next(islice(rows(block.data, first_line=block.first_line), index, None))
    return f"line {row.line} holds {shortened(texts[index])}"


def _header_block(block: Block) -> Block:
    row = next(rows(block.data, first_line=block.first_line))
    if not row.data.removeprefix(_BOM).strip():
        raise Reject("line 1: the header row is empty")
    return replace(block, data=block.data[: len(row.data)])


def _names(header: Block, separator: str) -> list[str]:
    text = _decode(header.data.removeprefix(_BOM), header.first_line)
    names = next(csv.reader([text], delimiter=separator))
    if len(names) > MAX_COLUMNS:
        raise Reject(f"line 1: the header has {len(names)} columns, more than {MAX_COLUMNS}")
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise Reject(f"line 1: the header has the column {twice!r} twice")
    return names


def _decode(data: bytes, line: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Reject(f"line {line}: byte {error.start + 1} of the row is not UTF-8") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
