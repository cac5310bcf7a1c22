"""Files of one JSON object a line as tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import polars as pl
from polars._typing import PolarsDataType

from poolhouse.worker.errors import Reject
from worker.transforms.tables.blocks import Block, RowTooLong, blocks, line_number
from worker.transforms.tables.compression import expand
from worker.transforms.tables.csv_table import MAX_COLUMNS
from worker.transforms.tables.pipeline import in_order
from worker.transforms.tables.table import Format, TableFile, TypesChanged, Watch, shortened, type_name, widest

#: Values of one block, those included that its lines lack: a line for each of many keys makes gigabytes of kilobytes.
MAX_BLOCK_VALUES = 4_000_000
_KEY = re.compile(rb'"([^"\\]*)"\s*:')


@dataclass(frozen=True)
class NdjsonTable:
    """An NDJSON file; `open_ndjson` makes one. A key that a line lacks is null there."""

    file: TableFile
    types: Mapping[str, pl.DataType]
    evidence: Mapping[str, str] = field(default_factory=dict)
    is_proven: bool = False

    @property
    def format(self) -> Format:
        return "ndjson"

    def proven(self) -> NdjsonTable:
        return replace(self, is_proven=True)

    def why(self, column: str) -> str:
        return self.evidence.get(column, "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        for block, frame in self._parsed(watch):
            if not self.is_proven and self._widened(frame, block).types != self.types:
                raise TypesChanged(self._retyped(watch))
            aligned = self._aligned(frame, block)
            yield aligned if columns is None else aligned.select(columns)

    def _parsed(self, watch: Watch) -> Iterator[tuple[Block, pl.DataFrame]]:
        size_bytes = self.file.size_bytes
        with self.file.path.open("rb") as raw, ThreadPoolExecutor(2, thread_name_prefix="ndjson") as pool:
            stream = expand(raw, self.file.compression, compressed_bytes=size_bytes)
            try:
                for block, frame in in_order(pool, self._read, blocks(stream, quote=b"")):
                    watch(raw.tell(), size_bytes)
                    yield block, frame
            except RowTooLong as error:
                raise Reject(f"line {self._line(error.start)}: {error}") from error

    def _line(self, offset: int) -> int:
        with self.file.path.open("rb") as raw:
            return line_number(expand(raw, self.file.compression, compressed_bytes=self.file.size_bytes), offset)

    def _read(self, block: Block) -> pl.DataFrame:
        if not self.is_proven:
            self._check_values(block, len(set(_KEY.findall(block.data))))
        try:
            if self.is_proven:
                return pl.read_ndjson(block.data, schema=dict(self.types))
            return pl.read_ndjson(block.data, infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            raise Reject(_complaint(block.data, self._line(block.start))) from error

    def _check_values(self, block: Block, keys: int) -> None:
        lines = block.data.count(b"\n") + 1
        if keys > MAX_COLUMNS or keys * lines > MAX_BLOCK_VALUES:
            where = f"line {self._line(block.start)} and following"
            raise Reject(f"{where}: {keys} different keys in {lines} lines, too many for a table")

    def _aligned(self, frame: pl.DataFrame, block: Block) -> pl.DataFrame:
        """The frame with all columns of the table, of the table's types."""
        if frame.schema == pl.Schema(self.types):
            return frame
        self._check_values(block, sum(map(_width, self.types.values())))
        if any(dtype.is_nested() for dtype in self.types.values()):
            # polars' cast does not add fields to objects; its reader does.
            return pl.read_ndjson(block.data, schema=dict(self.types))
        return frame.select(
            pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self.types.items()
        )

    def _widened(self, frame: pl.DataFrame, block: Block) -> NdjsonTable:
        types, evidence = dict(self.types), dict(self.evidence)
        for name, found in frame.schema.items():
            known = types.get(name, pl.Null())
            if found == known:
                continue
            joined = _joined(known, found)
            if joined is None:
                where = f"line {self._line(block.start)} and following"
                raise Reject(f"{where}: {name!r} holds {type_name(found)} where earlier lines have {type_name(known)}")
            types[name] = joined
            if joined == pl.String() and known not in (pl.Null(), pl.String()):
                evidence[name] = f"a value from line {self._line(block.start)} on is text"
        if len(types) > MAX_COLUMNS:
            raise Reject(f"line {self._line(block.start)} and following: more than {MAX_COLUMNS} different keys")
        return replace(self, types=types, evidence=evidence)

    def _retyped(self, watch: Watch) -> NdjsonTable:
        table = self
        for block, frame in self._parsed(watch):
            table = table._widened(frame, block)
        return table


def open_ndjson(file: TableFile) -> NdjsonTable:
    """Read the first rows of an NDJSON file.

    Raises:
        Reject: it is empty, or its first rows are no JSON objects.
    """
    empty = NdjsonTable(file, {})
    for _, frame in empty._parsed(lambda done, total: None):
        return replace(empty, types=dict(frame.schema))
    raise Reject("the table is empty: no row at all")


def _complaint(data: bytes, first_line: int) -> str:
    """What is wrong with the first broken line."""
    for number, line in enumerate(data.split(b"\n"), start=first_line):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except UnicodeDecodeError:
            return f"line {number}: not UTF-8"
        except (ValueError, RecursionError) as error:
            return f"line {number}: not JSON: {error}"
        if not isinstance(value, dict):
            return f"line {number}: {shortened(value)} is no JSON object"
    return f"line {first_line} and following: a key holds values of types that have nothing in common"


def _joined(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """The type that holds both; None where there is none."""
    if left == right or right == pl.Null():
        return left
    if left == pl.Null():
        return right
    if isinstance(left, pl.List) and isinstance(right, pl.List):
        inner = _joined(_instance(left.inner), _instance(right.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        fields = {field.name: _instance(field.dtype) for field in left.fields}
        for field in right.fields:
            joined = _joined(fields.get(field.name, pl.Null()), _instance(field.dtype))
            if joined is None:
                return None
            fields[field.name] = joined
        return pl.Struct(fields)
    return None if left.is_nested() or right.is_nested() else widest(left, right)


def _width(dtype: PolarsDataType) -> int:
    """How many keys a column's values may have, itself included."""
    if isinstance(dtype, pl.Struct):
        return 1 + sum(_width(field.dtype) for field in dtype.fields)
    return _width(dtype.inner) if isinstance(dtype, pl.List) else 1


def _instance(dtype: PolarsDataType) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()
