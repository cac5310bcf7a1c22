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
from worker.transforms.tables.blocks import Block, RowNotEnded, blocks, line_number
from worker.transforms.tables.compression import expand
from worker.transforms.tables.guard import guarded
from worker.transforms.tables.ndjson_lines import (
    complaint,
    deep_line,
    lone_surrogate,
    mixed_line,
    repeated_key,
    wide_number,
)
from worker.transforms.tables.pipeline import in_order
from worker.transforms.tables.table import (
    EXACT_INTEGERS,
    MAX_COLUMNS,
    MAX_DEPTH,
    Format,
    TableFile,
    TypesChanged,
    Watch,
    check_depth,
    inexact_as_float,
    instance,
    type_name,
    widest,
)

#: Values of one block, those included that its lines lack: a line for each of many keys makes gigabytes of kilobytes.
MAX_BLOCK_VALUES = 4_000_000
_KEY = re.compile(rb'"([^"\\]*)"\s*:\s*([\[{]?)')
_BOM = b"\xef\xbb\xbf"


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

    def of_types(self, types: Mapping[str, pl.DataType]) -> NdjsonTable:
        return replace(self, types={name: types[name] for name in self.types})

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
            except RowNotEnded as error:
                raise Reject(f"line {self._line(error.start)}: {error}") from error

    def _line(self, offset: int) -> int:
        with self.file.path.open("rb") as raw:
            return line_number(expand(raw, self.file.compression, compressed_bytes=self.file.size_bytes), offset)

    def _read(self, block: Block) -> pl.DataFrame:
        nested: set[str] = set()
        keys: list[tuple[bytes, bytes]] = []
        data = _data(block)
        if not self.is_proven:
            keys = _KEY.findall(data)
            different = set(keys)
            self._check_values(block, len({key for key, _ in different}))
            deep = deep_line(data)
            if deep is not None:
                where = f"line {self._line(block.start) + deep}"
                raise Reject(f"{where}: lists or objects are nested more than {MAX_DEPTH} deep")
            nested = {key.decode(errors="replace") for key, value in different if value}
        try:
            if self.is_proven:
                return pl.read_ndjson(data, schema=dict(self.types))
            frame = pl.read_ndjson(data, infer_schema_length=None)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise Reject(complaint(data, self._line(block.start))) from error
        check_depth(frame.schema)
        if frame.width and not any(dtype.is_nested() for dtype in frame.dtypes):
            self._check_keys(block, frame, len(keys))
        self._check_texts(block, frame, nested)
        return self._without_rounding(frame, block)

    def _check_keys(self, block: Block, frame: pl.DataFrame, keys: int) -> None:
        """Refuse a line that has a key twice, of which one value would be gone (RFC 8259, 4)."""
        data = _data(block)
        values = frame.height * frame.width - sum(frame.null_count().row(0))
        # Each key that is there has a value, or null.
        found = repeated_key(data) if keys > values + data.count(b"null") else None
        if found:
            index, key = found
            raise Reject(f"line {self._line(block.start) + index}: the key {key!r} is there twice")

    def _check_texts(self, block: Block, frame: pl.DataFrame, nested: set[str]) -> None:
        """Refuse what polars turns into other texts without a word: half characters, and objects beside texts."""
        data = _data(block)
        if b"\\ud" in data or b"\\uD" in data:
            index = lone_surrogate(data)
            if index is not None:
                raise Reject(f"line {self._line(block.start) + index}: \\ud… is half a character, which no text holds")
        texts = [name for name, dtype in frame.schema.items() if dtype == pl.String() and name in nested]
        found = mixed_line(data, texts) if texts else None
        if found:
            index, key = found
            where = f"line {self._line(block.start) + index}"
            raise Reject(f"{where}: {key!r} holds a list or an object where other lines have texts or numbers")

    def _without_rounding(self, frame: pl.DataFrame, block: Block) -> pl.DataFrame:
        """The frame with columns of integers beside fractions as text, where floats don't hold the integers."""
        exact = {}
        for name, dtype in frame.schema.items():
            if dtype.is_float() and _is_wide(frame[name]):
                texts = pl.read_ndjson(_data(block), schema={name: pl.String()})[name]
                if wide_number(texts):
                    exact[name] = texts
            elif dtype.is_nested() and _holds_floats(dtype):
                index = _wide_in_lists(_data(block))
                if index is not None:
                    where = f"line {self._line(block.start) + index}"
                    raise Reject(f"{where}: {name!r} holds an integer beyond 2**53 beside fractions: write it as text")
        return frame.with_columns(pl.Series(name, texts) for name, texts in exact.items()) if exact else frame

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
        with guarded(f"line {self._line(block.start)} and following: a value does not fit its key's type"):
            # polars' cast does not add fields to objects, and has other texts for values; its reader does.
            return pl.read_ndjson(_data(block), schema=dict(self.types))

    def _widened(self, frame: pl.DataFrame, block: Block) -> NdjsonTable:
        types, evidence = dict(self.types), dict(self.evidence)
        for name, found in frame.schema.items():
            known = types.get(name, pl.Null())
            if found == known:
                continue
            joined = widest(known, found)
            if joined is None:
                where = f"line {self._line(block.start)} and following"
                raise Reject(f"{where}: {name!r} holds {type_name(found)} where earlier lines have {type_name(known)}")
            if joined == pl.Float64() and found.is_integer() and inexact_as_float(frame[name]):
                joined = pl.String()
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


def _data(block: Block) -> bytes:
    """The lines, without the mark that some programs put before the first."""
    return block.data.removeprefix(_BOM) if block.start == 0 else block.data


def _is_wide(values: pl.Series) -> bool:
    least, most = values.min(), values.max()
    return isinstance(least, float) and isinstance(most, float) and max(-least, most) >= EXACT_INTEGERS


def _holds_floats(dtype: PolarsDataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_holds_floats(field.dtype) for field in dtype.fields)
    return _holds_floats(dtype.inner) if isinstance(dtype, pl.List) else instance(dtype).is_float()


def _wide_in_lists(data: bytes) -> int | None:
    """The index of the first line with an integer inside of a list or object that no float holds."""
    for index, line in enumerate(data.split(b"\n")):
        if _MANY_DIGITS.search(line) and any(map(_has_wide, json.loads(line).values())):
            return index
    return None


_MANY_DIGITS = re.compile(rb"[\[:,]\s*-?[0-9]{16,}\s*[,\]}]")


def _has_wide(value: object, *, inside: bool = False) -> bool:
    if isinstance(value, dict):
        return any(_has_wide(part, inside=True) for part in value.values())
    if isinstance(value, list):
        return any(_has_wide(part, inside=True) for part in value)
    return inside and isinstance(value, int) and abs(value) < 10**300 and int(float(value)) != value


def _width(dtype: PolarsDataType) -> int:
    """How many keys a column's values may have, itself included."""
    if isinstance(dtype, pl.Struct):
        return 1 + sum(_width(field.dtype) for field in dtype.fields)
    return _width(dtype.inner) if isinstance(dtype, pl.List) else 1
