"""Figures about the columns of a table, gathered frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from worker.transforms.tables.table import type_name

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
    least: Any = None
    greatest: Any = None
    #: How many numbers the mean is over.
    numbers: int = 0
    mean: float | None = None
    #: Sum of the squared distances from the mean.
    squares: float = 0.0

    @property
    def type(self) -> str:
        """The column's type as reports show it; `null` where it has no value at all."""
        return "null" if self.rows == self.nulls else type_name(self.dtype)

    def std(self, *, ddof: int = 1) -> float | None:
        """Standard deviation: of a sample (`ddof` 1, as pandas and polars give it) or of a population (0)."""
        if self.mean is None or self.numbers <= ddof:
            return None
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
        if self.dtype.is_numeric() and not self.dtype.is_decimal():
            mean, variance = _number(values.mean()), _number(values.var(ddof=0))
            if not math.isfinite(mean + variance):
                finite = values.filter(values.is_finite())
                self.not_finite += len(values) - nulls - len(finite)
                values, nulls = finite, 0
                mean, variance = _number(values.mean()), _number(values.var(ddof=0))
            self.add_numbers(len(values) - nulls, mean, variance * (len(values) - nulls))
        self.add_range(values.min(), values.max())

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
        if self.mean is None:
            self.numbers, self.mean, self.squares = count, mean, squares
            return
        total, delta = self.numbers + count, mean - self.mean
        self.squares += squares + delta * delta * self.numbers * count / total
        self.mean += delta * count / total
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


def plain(value: Any) -> Any:
    """A least or greatest value as JSON has it: texts cut to `MAX_TEXT` characters, times as ISO 8601."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    return value


def _has_order(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String(), pl.Boolean())


def _number(figure: Any) -> float:
    """A mean or variance; 0 where there are no values."""
    return 0.0 if figure is None else float(figure)
