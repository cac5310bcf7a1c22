"""Figures about the columns of a table, gathered frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from worker.transforms.tables.table import EXACT_INTEGERS, type_name

#: Integer types that polars computes means and variances of in floats that hold them.
_PLAIN = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64())
#: Characters of the least and greatest text that are kept.
MAX_TEXT = 100


@dataclass
class ColumnSummary:
    """What is known of one column."""

    dtype: pl.DataType
    rows: int = 0
    nulls: int = 0
    #: Numbers that are NaN or infinite: counted, and left out of every other figure.
    not_finite: int = 0
    #: Of dates and times, the number that stands for them: Python's own begin in year 1 and end in 9999.
    least: Any = None
    greatest: Any = None
    #: How many numbers the mean is over.
    numbers: int = 0
    #: What is taken off every number before it becomes a float, so that floats hold it.
    origin: int | Decimal = 0
    #: The mean of what is left.
    mean_beyond: float | None = None
    #: Sum of the squared distances from the mean.
    squares: float = 0.0

    @property
    def type(self) -> str:
        """The column's type as reports show it; `null` where it has no value at all."""
        return "null" if self.rows == self.nulls else type_name(self.dtype)

    @property
    def mean(self) -> float | None:
        """The mean of the numbers."""
        return None if self.mean_beyond is None else float(self.origin) + self.mean_beyond

    @property
    def shown_least(self) -> Any:
        """The least value as JSON has it."""
        return plain(self.least, self.dtype)

    @property
    def shown_greatest(self) -> Any:
        """The greatest value as JSON has it."""
        return plain(self.greatest, self.dtype)

    def std(self, *, ddof: int = 1) -> float | None:
        """Standard deviation: of a sample (`ddof` 1, as pandas and polars give it) or of a population (0)."""
        if self.mean_beyond is None or self.numbers <= ddof:
            return None
        if self.least == self.greatest:
            return 0.0
        return math.sqrt(max(self.squares, 0.0) / (self.numbers - ddof))

    def add(self, values: pl.Series) -> None:
        """Count more values in.

        Figure by figure: a query for all of them costs several times as much CPU on frames of some thousand rows.
        """
        nulls = values.null_count()
        self.rows += len(values)
        self.nulls += nulls
        if not _has_order(self.dtype) or nulls == len(values):
            return
        if self.dtype.is_temporal():
            values = values.to_physical()
        least, greatest = values.min(), values.max()
        if self.dtype.is_numeric():
            numbers = self._as_floats(values, least, greatest)
            mean, variance = _number(numbers.mean()), _number(numbers.var(ddof=0))
            if not math.isfinite(mean + variance):
                finite = numbers.filter(numbers.is_finite())
                self.not_finite += len(values) - nulls - len(finite)
                numbers, nulls = finite, 0
                mean, variance = _number(finite.mean()), _number(finite.var(ddof=0))
                least, greatest = finite.min(), finite.max()
            self.add_numbers(len(numbers) - nulls, mean, variance * (len(numbers) - nulls))
        self.add_range(least, greatest)

    def _as_floats(self, values: pl.Series, least: Any, greatest: Any) -> pl.Series:
        """Numbers as floats, less the origin: the first ones decide whether there is need of one."""
        if self.dtype.is_float():
            return values
        if self.numbers == 0 and isinstance(least, int | Decimal) and max(-least, greatest) > EXACT_INTEGERS:
            self.origin = least
        if not self.origin:
            return values.cast(pl.Float64) if self.dtype.is_decimal() or self.dtype not in _PLAIN else values
        if self.dtype.is_integer():
            return (values.cast(pl.Int128) - pl.Series([self.origin], dtype=pl.Int128)).cast(pl.Float64)
        return (values - pl.Series([self.origin], dtype=self.dtype)).cast(pl.Float64)

    def add_range(self, least: Any, greatest: Any) -> None:
        """Widen the range."""
        if least is not None:
            self.least = least if self.least is None else min(self.least, least)
        if greatest is not None:
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)

    def add_numbers(self, count: int, mean: float, squares: float) -> None:
        """Merge the mean and squares of `count` more numbers.

        Chan, Golub and LeVeque: Updating formulae and a pairwise algorithm for computing sample variances (1979).
        """
        if count == 0:
            return
        if self.mean_beyond is None:
            self.numbers, self.mean_beyond, self.squares = count, mean, squares
            return
        total, delta = self.numbers + count, mean - self.mean_beyond
        self.squares += squares + delta * delta * self.numbers * count / total
        self.mean_beyond += delta * count / total
        self.numbers = total


@dataclass
class Summary:
    """All columns of a table: add its frames up, one by one; memory does not grow with their rows."""

    rows: int = 0
    columns: dict[str, ColumnSummary] = field(default_factory=dict)

    def add(self, frame: pl.DataFrame) -> None:
        """Count a frame's rows in. All frames have the same columns; an empty one tells the types alone."""
        for name, dtype in frame.schema.items():
            self.columns.setdefault(name, ColumnSummary(dtype))
        if frame.is_empty():
            return
        self.rows += frame.height
        for series in frame.get_columns():
            self.columns[series.name].add(series)


def plain(value: Any, dtype: pl.DataType) -> Any:
    """A least or greatest value as JSON has it: texts cut to `MAX_TEXT` characters, times as ISO 8601."""
    if value is not None and dtype.is_temporal():
        return _time(value, dtype)
    if isinstance(value, str):
        return value[:MAX_TEXT]
    return str(value) if isinstance(value, Decimal) else value


def _time(number: int, dtype: pl.DataType) -> Any:
    values = pl.Series([number], dtype=pl.Int32 if dtype == pl.Date() else pl.Int64).cast(dtype)
    try:
        value = values.item()
    except (ValueError, OverflowError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
        value = None  # beyond Python's years, or in a time zone that it does not know
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    try:
        return str(values.cast(pl.String).item())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return number  # infinity, as databases write it


def _has_order(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String(), pl.Boolean())


def _number(figure: Any) -> float:
    """A mean or variance; 0 where there are no values."""
    return 0.0 if figure is None else float(figure)
