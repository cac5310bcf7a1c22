"""CSV files as tables."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, TypeVar

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.blocks import Block, RowTooLong, blocks, known_blocks, line_number, read_up_to
from worker.transforms.tables.compression import expand
from worker.transforms.tables.pipeline import in_order
from worker.transforms.tables.rows import QUOTE, Row, occurrences, octets, rows, separators
from worker.transforms.tables.table import Format, TableFile, TypesChanged, Watch, shortened, widest

#: A CSV of more columns is a broken file; each costs a few hundred bytes a block.
MAX_COLUMNS = 10_000
#: Blocks parsed at a time. polars parses one on all cores, but lets some idle at its ends.
PARSERS = 3
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
    #: Whether all rows were checked before; where the blocks ended then, and which had blank lines, by their start.
    is_proven: bool = False
    ends: list[int] = field(default_factory=list, compare=False)
    blank_at: set[int] = field(default_factory=set, compare=False)

    @property
    def format(self) -> Format:
        return "csv"

    def proven(self) -> CsvTable:
        return replace(self, is_proven=True)

    def why(self, column: str) -> str:
        return self.evidence.get(column, "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        for block, frame in self._parsed(watch, lambda block: self._parse(block, columns)):
            if frame is None:
                raise TypesChanged(self._retyped(block, watch))
            yield frame

    def _parsed(self, watch: Watch, parse: Callable[[Block], _Parsed]) -> Iterator[tuple[Block, _Parsed]]:
        size_bytes = self.file.size_bytes
        with self.file.path.open("rb") as raw, ThreadPoolExecutor(PARSERS, thread_name_prefix="csv") as pool:
            stream = expand(raw, self.file.compression, compressed_bytes=size_bytes)
            try:
                for block, parsed in in_order(pool, parse, self._body(stream), ahead=PARSERS):
                    watch(raw.tell(), size_bytes)
                    yield block, parsed
            except RowTooLong as error:
                raise Reject(f"line {self._line(error.start)}: {error}") from error

    def _body(self, stream: IO[bytes]) -> Iterator[Block]:
        if not self.is_proven:
            self.ends.clear()
        start, lead = len(read_up_to(stream, self.header.end)), self._lead
        if self.is_proven:
            yield from known_blocks(stream, self.ends, start=start, lead=lead)
            return
        for block in blocks(stream, start=start, lead=lead):
            self.ends.append(block.end)
            yield block

    def _line(self, offset: int) -> int:
        with self.file.path.open("rb") as raw:
            return line_number(expand(raw, self.file.compression, compressed_bytes=self.file.size_bytes), offset)

    def _parse(self, block: Block, columns: Sequence[str] | None, *, checked: bool = False) -> pl.DataFrame | None:
        """The block as a frame, None where the types don't fit it.

        polars fills rows that are too short with nulls, and makes a row of nulls of a blank line.
        """
        names, types = list(self.types), list(self.types.values())
        if self.is_proven and not checked and block.start in self.blank_at:
            return self._parse(self._check_rows(block), columns, checked=True)
        # Only a proven table need not parse the columns that nobody asks for.
        wanted = [names.index(name) for name in columns] if columns is not None and self.is_proven else None
        try:
            frame = self._read(block.text, types, wanted)
        except pl.exceptions.PolarsError as error:
            self._check_rows(block)
            if _is_misfit(error):
                return None
            raise self._complaint(block, error) from error
        if not (checked or self.is_proven) and self._is_ragged(block, frame):
            clean = self._check_rows(block)
            self.blank_at.add(block.start)
            return self._parse(clean, columns, checked=True)
        frame.columns = names if wanted is None else [names[int(number)] for number in frame.columns]
        return frame if columns is None else frame.select(columns)

    @property
    def _lead(self) -> bytes:
        """Our own header for each block: polars takes the width from the first row, which may be the broken one."""
        return self.file.separator.join(map(str, range(len(self.types)))).encode() + b"\n"

    def _read(self, text: bytes, types: Sequence[pl.DataType], wanted: Sequence[int] | None = None) -> pl.DataFrame:
        return pl.read_csv(
            text,
            separator=self.file.separator,
            schema={str(number): dtype for number, dtype in enumerate(types)},
            columns=None if wanted is None else [str(number) for number in wanted],
        )

    def _is_ragged(self, block: Block, frame: pl.DataFrame) -> bool:
        """Whether a row is too short, or a line blank: either leaves a null in the last column.

        Where no row lacks its last two values, a row that is too short lacks one field, and its line ends with the
        value before. So all is well if as many lines end with a separator as values are null in the last column, and
        every line is a row: none is blank or lies within quotes, for the block ends with a line break, and there are
        as many of these as rows. Counting all separators tells too, but costs a third of what parsing does.
        The lead is one more line, and ends with no separator.
        """
        if frame.width == 1 or not frame.to_series(-1).null_count():
            return False
        last, before = frame.to_series(-1), frame.to_series(-2)
        if block.text.endswith(b"\n") and not (last.is_null() & before.is_null()).any():
            text = octets(block.text)
            ends = text == ord("\n")
            empty_ends = ends.slice(1) & (text.head(-1) == ord(self.file.separator))
            if ends.sum() == frame.height + 1 and empty_ends.sum() == last.null_count():
                return False
        return self._separators(block, frame) != frame.height * (len(self.types) - 1)

    def _separators(self, block: Block, frame: pl.DataFrame) -> int:
        """How many separators a block has between fields: all there are, less those that texts hold, in quotes."""
        separator = self.file.separator
        count = occurrences(block.text, separator.encode()) - (len(self.types) - 1)  # the lead's
        if QUOTE not in block.text or pl.String() not in frame.dtypes:
            return count
        # Joined first: one search in all texts of a column costs less than one in each.
        in_texts = pl.col(pl.String).str.join("").str.count_matches(separator, literal=True)
        return count - int(sum(frame.select(in_texts).row(0)))

    def _complaint(self, block: Block, error: pl.exceptions.PolarsError) -> Reject:
        """Which row polars can't read, found by halving."""
        texts, suspects = [pl.String()] * len(self.types), list(rows(block.data, first_line=self._line(block.start)))
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            try:
                self._read(self._lead + b"".join(row.data for row in half), texts)
            except pl.exceptions.PolarsError as narrower:
                suspects, error = half, narrower
            else:
                suspects = suspects[len(half) :]
        return Reject(f"line {suspects[0].line}: {_first_line(error)}")

    def _check_rows(self, block: Block) -> Block:
        """The block without its blank lines; raises `Reject` for the first row of another width, or not in UTF-8."""
        separator, width, kept = self.file.separator.encode(), len(self.types), []
        # Numbered within the block: to find its place in the file takes reading all before it.
        for row in rows(block.data, first_line=0, skip_blank=width > 1):
            fields = separators(row.data, separator) + 1
            if fields != width:
                line = self._line(block.start) + row.line
                raise Reject(f"line {line}: the row has {fields} fields, the header {width}")
            try:
                row.data.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(error, self._line(block.start) + row.line) from None
            kept.append(row.data)
        return replace(block, text=self._lead + b"".join(kept))

    def _retyped(self, failed: Block, watch: Watch) -> CsvTable:
        """The table with types that hold for every row: one more pass, inferring them block by block."""
        types, evidence = dict(self.types), dict(self.evidence)

        def infer(block: Block) -> tuple[list[pl.DataType], pl.DataFrame] | None:
            # Blocks before the one that failed hold what the types say.
            return self._inferred(block) if block.start >= failed.start else None

        for block, inferred in self._parsed(watch, infer):
            for name, dtype, texts in zip(types, *inferred, strict=True) if inferred else ():
                known = types[name]
                types[name] = widest(known, dtype)
                if types[name] == pl.String() != known:
                    evidence[name] = self._misfit(texts, known, block)
        if types == self.types:
            raise Reject(f"line {self._line(failed.start)} and following: a value does not fit its column's type")
        return replace(self, types=types, evidence=evidence)

    def _misfit(self, texts: pl.Series, known: pl.DataType, block: Block) -> str:
        """Which value made a column text."""
        fits = texts.str.contains("^(true|false)$" if known == pl.Boolean() else _NUMBER)
        index = fits.not_().arg_true().min()
        if not isinstance(index, int):
            return ""
        kept = rows(block.data, first_line=self._line(block.start), skip_blank=len(self.types) > 1)
        return f"line {next(islice(kept, index, None)).line} holds {shortened(texts[index])}"

    def _inferred(self, block: Block, *, checked: bool = False) -> tuple[list[pl.DataType], pl.DataFrame]:
        """The types that a block's columns have on their own (Null: no value), and the columns as text."""
        try:
            texts = self._read(block.text, [pl.String()] * len(self.types))
        except pl.exceptions.PolarsError as error:
            self._check_rows(block)
            raise self._complaint(block, error) from error
        if not checked and self._is_ragged(block, texts):
            return self._inferred(self._check_rows(block), checked=True)
        guessed = pl.read_csv(block.text, separator=self.file.separator, infer_schema_length=None).schema
        return [_settled(guessed[name], texts[name]) for name in texts.columns], texts


def open_csv(file: TableFile) -> CsvTable:
    """Read the header and the first rows of a CSV file.

    Raises:
        Reject: it is empty, has no valid header, or is not in UTF-8.
    """
    with file.path.open("rb") as raw:
        stream = expand(raw, file.compression, compressed_bytes=file.size_bytes)
        try:
            block = next(blocks(stream), None)
        except RowTooLong as error:
            raise Reject(f"line 1: {error}") from error
    if block is None:
        raise Reject("the table is empty: not even a header row")
    header = next(rows(block.data, first_line=1))
    names = _names(header, file.separator)
    untyped = CsvTable(file, dict.fromkeys(names, pl.String()), Block(header.data, 0))
    sample = b"".join(row.data for row in islice(rows(block.data, first_line=1), 1, SAMPLE_ROWS + 1))
    if not sample:
        return untyped
    lead = untyped._lead
    found, _ = untyped._inferred(Block(lead + sample, len(header.data), len(lead)))
    # No value yet: the narrowest type, so that the first value that is no integer is noticed.
    types = [pl.Int64() if dtype == pl.Null() else dtype for dtype in found]
    return replace(untyped, types=dict(zip(names, types, strict=True)))


def _settled(guessed: pl.DataType, texts: pl.Series) -> pl.DataType:
    if texts.null_count() == len(texts):
        return pl.Null()
    if guessed == pl.Int64() and texts.str.contains(_LEADING_ZERO).any():
        return pl.String()
    if guessed == pl.String() and texts.str.contains(_NUMBER).all():
        return pl.Float64()  # polars reads NaN and infinities as floats, but does not guess them
    return guessed if guessed in _INFERRED else pl.String()


def _names(header: Row, separator: str) -> list[str]:
    try:
        text = header.data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(error, header.line) from None
    if not text.strip():
        raise Reject("line 1: the header row is empty")
    try:
        names = next(csv.reader([text], delimiter=separator))
    except csv.Error as error:  # such as a carriage return alone, which ends no line
        raise Reject(f"line 1: the header row is broken: {error}") from None
    if len(names) > MAX_COLUMNS:
        raise Reject(f"line 1: the header has {len(names)} columns, more than {MAX_COLUMNS}")
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise Reject(f"line 1: the header has the column {twice!r} twice")
    return names


def _not_utf8(error: UnicodeDecodeError, line: int) -> Reject:
    return Reject(f"line {line}: byte {error.start + 1} of the row is not UTF-8")


def _is_misfit(error: pl.exceptions.PolarsError) -> bool:
    """Whether a value did not fit its column's type, rather than the row CSV's rules."""
    return "could not parse" in str(error) and "not properly escaped" not in str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
