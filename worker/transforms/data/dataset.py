"""A data set made up on the spot: reproducible, of any size, in frames of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from worker.transforms.tables.table import Watch

#: Rows of a frame; part of what makes a data set reproducible.
FRAME_ROWS = 50_000
#: Bytes that a row stands for in progress figures.
_ROW_BYTES = 40
CATEGORIES = ("alpha", "beta", "gamma", "delta")
_TYPES = {
    "id": pl.Int64(),
    "category": pl.String(),
    "value": pl.Float64(),
    "score": pl.Float64(),
    "quantity": pl.Int64(),
}


@dataclass(frozen=True)
class GeneratedTable:
    """`rows` rows of `id` (from 0), `category`, `value` in [0, 1000), `score` in [-1, 1), `quantity` in [0, 100).

    The figures are hashes of the row's number: any row comes out the same however many there are.
    """

    rows: int

    @property
    def format(self) -> Literal["generated"]:
        return "generated"

    @property
    def types(self) -> Mapping[str, pl.DataType]:
        return _TYPES

    def proven(self) -> GeneratedTable:
        return self

    def of_types(self, types: Mapping[str, pl.DataType]) -> None:
        return None

    def why(self, column: str) -> str:
        return ""

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        for start in range(0, self.rows, FRAME_ROWS):
            stop = min(start + FRAME_ROWS, self.rows)
            frame = _frame(start, stop)
            watch(stop * _ROW_BYTES, self.rows * _ROW_BYTES)
            yield frame if columns is None else frame.select(columns)


def _frame(start: int, stop: int) -> pl.DataFrame:
    # One query, in memory: the start of a query costs more than a few hundred rows.
    lazy = pl.LazyFrame({"id": pl.int_range(start, stop, eager=True)})
    made = lazy.with_columns(
        category=(_mixed(1) % len(CATEGORIES)).replace_strict(dict(enumerate(CATEGORIES)), return_dtype=pl.String),
        value=_mixed(2).cast(pl.Float64) / 1_000,
        score=_mixed(9).cast(pl.Float64) / 500_000 - 1,
        quantity=_mixed(4) % 100,
    ).select(*_TYPES)
    return made.collect(engine="in-memory")


def _mixed(salt: int) -> pl.Expr:
    """A number in [0, 1,000,000) that looks random.

    Integer arithmetic alone, with no overflow, rather than polars' hash, which may differ between its versions.
    """
    number = pl.col("id") % 2_147_483_647 + salt * 97_654_321
    for multiplier in (48_271, 69_621, 39_373):  # multipliers of Lehmer generators modulo 2**31 - 1
        number = (number * multiplier + salt * 12_345_677) % 2_147_483_647
        number = (number // 1_009 + (number % 1_009) * 2_128_000) % 2_147_483_647
    return number % 1_000_000
