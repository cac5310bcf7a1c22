"""CSV files as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, TypeVar

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.blocks import Block, RowNotEnded, blocks, known_blocks, line_number, read_up_to
from worker.transforms.tables.compression import expand
from worker.transforms.tables.csv_fields import code_like, has_stray_quote, stray_quotes
from worker.transforms.tables.csv_kinds import Kinds, kinds, known_kinds, misfit
from worker.transforms.tables.pipeline import in_order
from worker.transforms.tables.rows import QUOTE, occurrences, octets, rows, separators
from worker.transforms.tables.table import EXACT_INTEGERS, Format, TableFile, TypesChanged, Watch, shortened, widest

#: Blocks parsed at a time. polars parses one on all cores, but lets some idle at its ends.
PARSERS = 3
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class CsvTable:
    """A CSV file with a header row, in UTF-8; `open_csv` makes one.

    A column of type Null has no value so far.
    """

    file: TableFile
    types: Mapping[str, pl.DataType]
    header: Block
    evidence: Mapping[str, str] = field(default_factory=dict)
    #: Whether `types` were inferred from rows: texts need no second look then.
    is_sampled: bool = False
    #: Whether all rows were checked before; where the blocks ended then, and which had blank lines, by their start.
    is_proven: bool = False
    ends: list[int] = field(default_factory=list, compare=False)
    blank_at: set[int] = field(default_factory=set, compare=False)

    @property
    def format(self) -> Format:
        return "csv"

    def proven(self) -> CsvTable:
        types = {name: pl.Int64() if dtype == pl.Null() else dtype for name, dtype in self.types.items()}
        return replace(self, types=types, is_proven=True)

    def of_types(self, types: Mapping[str, pl.DataType]) -> CsvTable:
        readable = (pl.Int64(), pl.Float64(), pl.Boolean(), pl.Null())
        wanted = {name: types[name] if types[name] in readable else pl.String() for name in self.types}
        return replace(self, types=wanted)

    def why(self, column: str) -> str:
        if column not in self.evidence and self.types.get(column) == pl.String():
            return self._first_text(column)
        return self.evidence.get(column, "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        for block, frame in self._parsed(watch, lambda block: self._parse(block, columns)):
            if frame is None:
                raise TypesChanged(self._retyped(block, watch))
            yield frame

    def _parsed(self, watch: Watch, parse: Callable[[Block], _Parsed]) -> Iterator[tuple[Block, _Parsed]]:
        size_bytes = self.file.size_bytes
        pool = ThreadPoolExecutor(PARSERS, thread_name_prefix="csv")
        with self.file.path.open("rb") as raw:
            stream = expand(raw, self.file.compression, compressed_bytes=size_bytes)
            try:
                for block, parsed in in_order(pool, parse, self._body(stream), ahead=PARSERS):
                    watch(raw.tell(), size_bytes)
                    yield block, parsed
            except RowNotEnded as error:
                raise Reject(f"line {self._line(error.start)}: {error}") from error
            finally:
                # Nobody waits for the threads: the garbage collector may close this on one of them.
                pool.shutdown(wait=False, cancel_futures=True)

    def _body(self, stream: IO[bytes]) -> Iterator[Block]:
        if not self.is_proven:
            self.ends.clear()
        start, lead = len(read_up_to(stream, self.header.end)), self.lead
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

        polars fills rows that are too short with nulls, makes a row of nulls of a blank line, and drops quotes that
        stand where none may.
        """
        names = list(self.types)
        types = [pl.Int64() if dtype == pl.Null() else dtype for dtype in self.types.values()]
        if self.is_proven and not checked and block.start in self.blank_at:
            return self._parse(self._check_rows(block), columns, checked=True)
        # Only a proven table need not parse the columns that nobody asks for.
        wanted = [names.index(name) for name in columns] if columns is not None and self.is_proven else None
        if not (checked or self.is_proven) and stray_quotes(block.text, self._separator):
            self._check_rows(block)
        try:
            frame = self._read(block.text, types, wanted)
        except pl.exceptions.PolarsError as error:
            self._check_rows(block)
            if _is_misfit(error):
                return None
            raise self._complaint(block) from error
        if not (checked or self.is_proven) and self._is_ragged(block, frame):
            clean = self._check_rows(block)
            self.blank_at.add(block.start)
            return self._parse(clean, columns, checked=True)
        if not self.is_proven and self._changes_values(block, frame):
            return None
        frame.columns = names if wanted is None else [names[int(number)] for number in frame.columns]
        return frame if columns is None else frame.select(columns)

    @property
    def _separator(self) -> bytes:
        return self.file.separator.encode()

    @property
    def lead(self) -> bytes:
        """Our own header for each block: polars takes the width from the first row, which may be the broken one."""
        return self.file.separator.join(map(str, range(len(self.types)))).encode() + b"\n"

    def _read(self, text: bytes, types: Sequence[pl.DataType], wanted: Sequence[int] | None = None) -> pl.DataFrame:
        return pl.read_csv(
            text,
            separator=self.file.separator,
            schema={str(number): dtype for number, dtype in enumerate(types)},
            columns=None if wanted is None else [str(number) for number in wanted],
        )

    def _changes_values(self, block: Block, frame: pl.DataFrame) -> bool:
        """Whether a value of the block came out as another one, so that its column must be of another type."""
        declared = list(self.types.values())
        if any(
            dtype == pl.Null() and frame.to_series(n).null_count() < frame.height for n, dtype in enumerate(declared)
        ):
            return True
        numbers = [n for n, dtype in enumerate(declared) if dtype in (pl.Int64(), pl.Float64())]
        if not numbers:
            return False
        if not code_like(block.text, self._separator):
            numbers = [n for n in numbers if declared[n] == pl.Float64() and _is_wide(frame.to_series(n))]
        if not numbers:
            return False
        texts = self._read(block.text, [pl.String()] * len(declared), numbers)
        return any(
            widest(declared[n], kinds(texts[str(n)]).dtype) != declared[n]
            or (declared[n] == pl.Float64() and Kinds.WIDE in kinds(texts[str(n)]))
            for n in numbers
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
            text = octets(block.text)  # whose first byte is the lead's
            ends = text.slice(1) == ord("\n")
            empty_ends = ends & (text.head(-1) == ord(self.file.separator))
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

    def _complaint(self, block: Block) -> Reject:
        """Which row polars can't read, found by halving."""
        texts, suspects = [pl.String()] * len(self.types), list(rows(block.data, first_line=self._line(block.start)))
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            try:
                self._read(self.lead + b"".join(row.data for row in half), texts)
            except pl.exceptions.PolarsError:
                suspects = half
            else:
                suspects = suspects[len(half) :]
        return Reject(f"line {suspects[0].line}: the row can't be read as CSV: are its quotes right?")

    def _check_rows(self, block: Block) -> Block:
        """The block without its blank lines; raises `Reject` for the first row that is no row of this table.

        That is one of another width, not in UTF-8, or with a quote where none may stand.
        """
        separator, width, kept = self._separator, len(self.types), []
        # Numbered within the block: to find its place in the file takes reading all before it.
        for row in rows(block.data, first_line=0, skip_blank=width > 1):
            fields = separators(row.data, separator) + 1
            stray = has_stray_quote(row, separator)
            if fields != width or stray:
                line = self._line(block.start) + row.line
                if stray:
                    raise Reject(
                        f"line {line}: a quote stands in the middle of a field: quote the field, and write it twice"
                    )
                raise Reject(f"line {line}: the row has {fields} fields, the header {width}")
            try:
                row.data.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(error, self._line(block.start) + row.line) from None
            kept.append(row.data)
        return replace(block, text=self.lead + b"".join(kept))

    def _retyped(self, failed: Block, watch: Watch) -> CsvTable:
        """The table with types that hold for every row: one more pass, inferring them block by block."""
        found, evidence = {name: known_kinds(dtype) for name, dtype in self.types.items()}, dict(self.evidence)

        def infer(block: Block) -> tuple[list[Kinds], pl.DataFrame] | None:
            # Blocks before the one that failed hold what the types say.
            return self._inferred(block) if block.start >= failed.start else None

        for block, inferred in self._parsed(watch, infer):
            for name, more, texts in zip(found, *inferred, strict=True) if inferred else ():
                known = found[name]
                found[name] |= more
                if found[name].dtype == pl.String() != known.dtype:
                    evidence[name] = self._misfit(texts, known.dtype, block)
        types = {name: seen.dtype for name, seen in found.items()}
        if types == self.types:
            raise Reject(f"line {self._line(failed.start)} and following: a value does not fit its column's type")
        return replace(self, types=types, evidence=evidence)

    def _misfit(self, texts: pl.Series, known: pl.DataType, block: Block) -> str:
        """Which value made a column text."""
        index = misfit(texts, known)
        if index is None:
            return ""
        kept = rows(block.data, first_line=self._line(block.start), skip_blank=len(self.types) > 1)
        return f"line {next(islice(kept, index, None)).line} holds {shortened(texts[index])}"

    def _first_text(self, column: str) -> str:
        """Where a column of texts holds the first one that is no number, in the rows that types are inferred from."""
        number = list(self.types).index(column)
        with self.file.path.open("rb") as raw:
            stream = expand(raw, self.file.compression, compressed_bytes=self.file.size_bytes)
            start = len(read_up_to(stream, self.header.end))
            block = next(blocks(stream, start=start, lead=self.lead), None)
        if block is None:
            return ""
        texts = self._read(self._check_rows(block).text, [pl.String()] * len(self.types), [number]).to_series()
        return self._misfit(texts, pl.Float64(), block)

    def _inferred(self, block: Block, *, checked: bool = False) -> tuple[list[Kinds], pl.DataFrame]:
        """What the values of a block's columns are, and the columns as text."""
        if not checked and stray_quotes(block.text, self._separator):
            self._check_rows(block)
        try:
            texts = self._read(block.text, [pl.String()] * len(self.types))
        except pl.exceptions.PolarsError as error:
            self._check_rows(block)
            raise self._complaint(block) from error
        if not checked and self._is_ragged(block, texts):
            return self._inferred(self._check_rows(block), checked=True)
        known = self.types.values()
        return [
            Kinds.TEXT if dtype == pl.String() and self.is_sampled else kinds(column)
            for dtype, column in zip(known, texts.get_columns(), strict=True)
        ], texts

    def sample(self, block: Block) -> CsvTable:
        """The table with the types that a block of its first rows shows."""
        found, _ = self._inferred(block)
        return replace(self, types={n: k.dtype for n, k in zip(self.types, found, strict=True)}, is_sampled=True)


def not_utf8(error: UnicodeDecodeError, line: int) -> Reject:
    """The refusal of a row that is not in UTF-8."""
    return Reject(f"line {line}: byte {error.start + 1} of the row is not UTF-8: save the file as UTF-8")


def _is_misfit(error: pl.exceptions.PolarsError) -> bool:
    """Whether a value did not fit its column's type, rather than the row CSV's rules."""
    return "could not parse" in str(error) and "not properly escaped" not in str(error)


def _is_wide(values: pl.Series) -> bool:
    """Whether floats are so large that the digits of an integer may be lost, or that one is infinite."""
    least, most = values.min(), values.max()
    return isinstance(least, float) and isinstance(most, float) and max(-least, most) >= EXACT_INTEGERS
