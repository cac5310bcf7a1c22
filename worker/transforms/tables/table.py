"""What a table is: typed columns, and frames read one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl
from polars._typing import PolarsDataType

from poolhouse.worker.errors import Reject
from worker.transforms.tables.compression import Compression

Format = Literal["csv", "ndjson", "parquet"]

#: A table of more columns is a broken file; each costs a few hundred bytes a block.
MAX_COLUMNS = 10_000
#: How deeply lists and objects may be nested.
MAX_DEPTH = 32
#: Floats hold every integer up to here (IEEE 754: 53 bits), and not all beyond.
EXACT_INTEGERS = 2**53
#: Integer types, narrow before wide, with what they hold.
_RANGES: dict[pl.DataType, tuple[int, int]] = {
    pl.Int8(): (-(2**7), 2**7 - 1),
    pl.UInt8(): (0, 2**8 - 1),
    pl.Int16(): (-(2**15), 2**15 - 1),
    pl.UInt16(): (0, 2**16 - 1),
    pl.Int32(): (-(2**31), 2**31 - 1),
    pl.UInt32(): (0, 2**32 - 1),
    pl.Int64(): (-(2**63), 2**63 - 1),
    pl.UInt64(): (0, 2**64 - 1),
    pl.Int128(): (-(2**127), 2**127 - 1),
    pl.UInt128(): (0, 2**128 - 1),
}

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
        """Why a column is text, such as `line 17 holds 'abc'`; empty where that is not known."""

    def of_types(self, types: Mapping[str, pl.DataType]) -> Table | None:
        """The same table with columns of wider types, read anew from the file; None where its format has types."""


class TypesChanged(Exception):  # not an error: the pass starts again with the table it carries
    """Rows that do not fit the inferred types were met; `table` is the same table with types that hold for all."""

    def __init__(self, table: Table) -> None:
        super().__init__("the types inferred from the first rows do not hold for all")
        self.table = table


def type_name(dtype: pl.DataType) -> str:
    """A column type as reports show it: `int64`, `float64`, `string`, `boolean`, `date`, `list`, …."""
    return str(dtype.base_type()).lower()


def widest(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """The narrowest type that holds the values of both, None where there is none; nulls fit every type.

    Integers and fractions together are floats: whoever converts checks that no integer is beyond `EXACT_INTEGERS`.
    """
    if left == right or right == pl.Null():
        return left
    if left == pl.Null():
        return right
    if isinstance(left, pl.List) and isinstance(right, pl.List):
        inner = widest(instance(left.inner), instance(right.inner))
        return None if inner is None else pl.List(inner)
    if isinstance(left, pl.Struct) and isinstance(right, pl.Struct):
        fields = {field.name: instance(field.dtype) for field in left.fields}
        for field in right.fields:
            joined = widest(fields.get(field.name, pl.Null()), instance(field.dtype))
            if joined is None:
                return None
            fields[field.name] = joined
        return pl.Struct(fields)
    if left.is_nested() or right.is_nested() or pl.Binary() in (left, right):
        return None
    if left.is_integer() and right.is_integer():
        return _widest_integer(left, right)
    if (left.is_decimal() and (right.is_decimal() or right.is_integer())) or (right.is_decimal() and left.is_integer()):
        return _widest_decimal(left, right)
    if (left.is_float() or left.is_integer()) and (right.is_float() or right.is_integer()):
        return pl.Float64()
    return pl.String()


def _widest_integer(left: pl.DataType, right: pl.DataType) -> pl.DataType:
    low = min(_RANGES[left][0], _RANGES[right][0])
    high = max(_RANGES[left][1], _RANGES[right][1])
    return next((dtype for dtype, (least, most) in _RANGES.items() if least <= low and high <= most), pl.String())


def _widest_decimal(left: pl.DataType, right: pl.DataType) -> pl.DataType:
    """Of as many digits before and after the point as either has; text where that is too many."""
    before = after = 0
    for dtype in (left, right):
        if isinstance(dtype, pl.Decimal):
            scale = dtype.scale or 0
            before, after = max(before, (dtype.precision or 38) - scale), max(after, scale)
        else:
            before = max(before, len(str(_RANGES[dtype][1])))
    return pl.Decimal(before + after, after) if before + after <= 38 else pl.String()


def integer_range(dtype: pl.DataType) -> tuple[int, int]:
    """The least and greatest number of an integer type."""
    return _RANGES[dtype]


def instance(dtype: PolarsDataType) -> pl.DataType:
    """A type as an object: polars takes and gives classes too."""
    return dtype if isinstance(dtype, pl.DataType) else dtype()


def check_depth(types: Mapping[str, pl.DataType]) -> None:
    """Raise `Reject` where lists and objects are nested so deeply that whoever walks through them runs out of stack."""
    for name, dtype in types.items():
        level: list[pl.DataType] = [dtype]
        for _ in range(MAX_DEPTH):
            level = [inner for outer in level for inner in _inner(outer)]
        if level:
            raise Reject(f"column {name!r} holds lists or objects that are nested more than {MAX_DEPTH} deep")


def _inner(dtype: pl.DataType) -> list[pl.DataType]:
    if isinstance(dtype, pl.Struct):
        return [instance(field.dtype) for field in dtype.fields]
    return [instance(dtype.inner)] if isinstance(dtype, pl.List | pl.Array) else []


def inexact_as_float(values: pl.Series) -> bool:
    """Whether floats don't hold all of these integers."""
    least, most = values.min(), values.max()
    if not isinstance(least, int) or not isinstance(most, int) or max(-least, most) <= EXACT_INTEGERS:
        return False
    wide = values.cast(pl.Int128)
    # Back by way of a float, which 2**127 as a float would not survive: those are no integers of any source.
    return bool((wide.cast(pl.Float64).cast(pl.Int128, strict=False).ne_missing(wide)).any())


def shortened(value: object, *, length: int = 60) -> str:
    """A value as error messages quote it."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"
