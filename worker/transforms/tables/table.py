"""What a table is: typed columns, and frames read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from worker.transforms.tables.compression import Compression

Format = Literal["csv", "ndjson", "parquet"]

#: Called between two frames with the bytes read so far and their total: reports progress, raises to interrupt.
Watch = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """A file on local disk that holds a table."""

    path: Path
    format: Format
    compression: Compression | None = None
    #: Field separator of CSV.
    separator: str = ","

    @property
    def size_bytes(self) -> int:
        """Size on disk."""
        return self.path.stat().st_size


class Table(Protocol):
    """Rows of typed columns, from wherever."""

    @property
    def format(self) -> Format | Literal["generated"]: ...
    @property
    def types(self) -> Mapping[str, pl.DataType]:
        """The columns and their types, as known so far: reading may raise `TypesChanged`."""

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows, in order, in frames of bounded size.

        Raises:
            TypesChanged: a later row does not fit the types inferred from the first.
            poolhouse.worker.errors.Reject: a row is broken.
        """

    def proven(self) -> Table:
        """The same table, all of whose rows were read with no complaint: reading them again need not look for one."""

    def why(self, column: str) -> str:
        """Why a column is text, such as `line 17 holds 'abc'`; empty where it always was."""


class TypesChanged(Exception):  # not an error: the pass starts again with the table it carries
    """Rows that do not fit the inferred types were met; `table` is the same table with types that hold for all."""

    def __init__(self, table: Table) -> None:
        super().__init__("the types inferred from the first rows do not hold for all")
        self.table = table


def type_name(dtype: pl.DataType) -> str:
    """A column type as reports show it: `int64`, `float64`, `string`, `boolean`, `date`, `list`, …."""
    return str(dtype.base_type()).lower()


def widest(left: pl.DataType, right: pl.DataType) -> pl.DataType:
    """The narrowest of integer, float and text that holds both types; nulls fit every type."""
    if left == right or right == pl.Null():
        return left
    if left == pl.Null():
        return right
    if left.is_numeric() and right.is_numeric():
        return pl.Float64()
    return pl.String()


def shortened(value: object, *, length: int = 60) -> str:
    """A value as error messages quote it."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"
