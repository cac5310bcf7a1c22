"""Rows drawn at random, the same ones for the same seed, in one pass with no rows held."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

_ROW = "__poolhouse_row"


def by_fraction(rows: pl.LazyFrame, fraction: float, *, seed: int) -> pl.LazyFrame:
    """Each row with the chance `fraction`."""
    limit = min(int(fraction * 2**64), 2**64 - 1)
    return _below(rows, limit, seed=seed)


def by_rows(rows: pl.LazyFrame, wanted: int, frames: Iterable[pl.DataFrame], *, seed: int) -> pl.LazyFrame:
    """`wanted` rows; `frames` are the same rows, read beforehand to find where the draw ends."""
    least, start = pl.Series("hash", [], dtype=pl.UInt64), 0
    for frame in frames:
        numbers = pl.int_range(start, start + frame.height, dtype=pl.UInt64, eager=True)
        start += frame.height
        least = pl.concat([least, numbers.hash(seed).rename("hash")]).bottom_k(wanted)
    limit = least.max()
    return _below(rows, limit if isinstance(limit, int) else 0, seed=seed).head(wanted)


def _below(rows: pl.LazyFrame, limit: int, *, seed: int) -> pl.LazyFrame:
    drawn = pl.col(_ROW).cast(pl.UInt64).hash(seed) <= pl.lit(limit, dtype=pl.UInt64)
    return rows.with_row_index(_ROW).filter(drawn).drop(_ROW)
