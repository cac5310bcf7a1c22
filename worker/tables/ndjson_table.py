"""Files of one JSON object a line as tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import polars as pl

from worker.errors import Reject
from worker.tables.blocks import Block, blocks
from worker.tables.compression import expand
from worker.tables.csv_table import MAX_COLUMNS
from worker.tables.pipeline import in_order
from worker.tables.table import Format, TableFile, TypesChanged, Watch, shortened, widest


@dataclass(frozen=True)
class NdjsonTable:
    """An NDJSON file; `open_ndjson` makes one. A key that a line lacks is null there."""

    file: TableFile
    types: Mapping[str, pl.DataType]
    evidence: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> Format:
        return "ndjson"

    def why(self, column: str) -> str:
        return self.evidence.get(column, "")

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        for block, frame in self._parsed(watch):
            types, _ = self._widened(frame, block)
            if types != self.types:
                raise TypesChanged(self._retyped(watch))
            aligned = _aligned(frame, self.types)
            yield aligned if columns is None else aligned.select(columns)

    def _parsed(self, watch: Watch) -> Iterator[tuple[Block, pl.DataFrame]]:
        size_bytes = self.file.size_bytes
        with self.file.path.open("rb") as raw, ThreadPoolExecutor(2, thread_name_prefix="ndjson") as pool:
            stream = expand(raw, self.file.compression, compressed_bytes=size_bytes)
            parse: Callable[[Block], pl.DataFrame] = _read
            for block, frame in in_order(pool, parse, blocks(stream, quote=b"")):
                watch(raw.tell(), size_bytes)
                yield block, frame

    def _widened(self, frame: pl.DataFrame, block: Block) -> tuple[dict[str, pl.DataType], dict[str, str]]:
        types, evidence = dict(self.types), dict(self.evidence)
        for name, found in frame.schema.items():
            known = types.get(name, pl.Null())
            types[name] = _joined(known, found, name, block)
            if types[name] == pl.String() and known not in (pl.Null(), pl.String()):
                evidence[name] = f"a value from line {block.first_line} on is text"
        if len(types) > MAX_COLUMNS:
            raise Reject(f"line {block.first_line} and following: more than {MAX_COLUMNS} different keys")
        return types, evidence

    def _retyped(self, watch: Watch) -> NdjsonTable:
        table = self
        for block, frame in self._parsed(watch):
            types, evidence = table._widened(frame, block)
            table = replace(table, types=types, evidence=evidence)
        return table


def open_ndjson(file: TableFile) -> NdjsonTable:
    """Read the first rows of an NDJSON file.

    Raises:
        Reject: it is empty, or its first rows are no JSON objects.
    """
    with file.path.open("rb") as raw:
        stream = expand(raw, file.compression, compressed_bytes=file.size_bytes)
        block = next(blocks(stream, quote=b""), None)
    if block is None:
        raise Reject("the table is empty: no row at all")
    return NdjsonTable(file, dict(_read(block).schema))


def _read(block: Block) -> pl.DataFrame:
    try:
        return pl.read_ndjson(block.data, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise Reject(_complaint(block)) from error


def _complaint(block: Block) -> str:
    """What is wrong with the first broken line."""
    for number, line in enumerate(block.data.split(b"\n"), start=block.first_line):
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
    return f"line {block.first_line} and following: a key holds values of types that have nothing in common"


def _joined(known: pl.DataType, found: pl.DataType, name: str, block: Block) -> pl.DataType:
    if known.is_nested() or found.is_nested():
        if known == found or found == pl.Null():
            return known
        if known == pl.Null():
            return found
        try:
            both = pl.concat(
                [pl.Series([], dtype=known).to_frame("v"), pl.Series([], dtype=found).to_frame("v")],
                how="vertical_relaxed",
            )
        except pl.exceptions.PolarsError:
            raise Reject(
                f"line {block.first_line} and following: {name!r} holds {found} where earlier lines have {known}"
            ) from None
        return both.schema["v"]
    return widest(known, found)


def _aligned(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in types.items()
    )
