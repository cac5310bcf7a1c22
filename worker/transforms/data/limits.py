"""Steps that would hold more and more rows in memory, with the limit at which they give up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.table import inexact_as_float

#: Bytes of rows, as polars holds them, that a sort may gather.
MAX_SORT_BYTES = 128 * 1024 * 1024
#: Groups of an aggregation, distinct rows of a deduplication.
MAX_GROUPS = 1_000_000


def guard_bytes(rows: pl.LazyFrame, *, step: str, limit: int = MAX_SORT_BYTES) -> pl.LazyFrame:
    """The same rows; `Reject` once they take more than `limit` bytes in memory."""
    seen_bytes, lock = 0, threading.Lock()

    def check(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal seen_bytes
        with lock:
            seen_bytes += int(frame.estimated_size())
        if seen_bytes > limit:
            raise Reject(f"{step}: the rows take more than {limit // 1024**2} MiB of memory: filter or aggregate first")
        return frame

    return each(rows, check)


def guard_groups(rows: pl.LazyFrame, columns: Sequence[str], *, step: str, limit: int = MAX_GROUPS) -> pl.LazyFrame:
    """The same rows; `Reject` once `columns` hold more than `limit` different combinations of values."""
    seen, lock = pl.Series("hash", [], dtype=pl.UInt64), threading.Lock()

    def check(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal seen
        hashes = frame.select(columns).hash_rows(seed=7).rename("hash").unique()
        with lock:
            seen = pl.concat([seen, hashes.filter(~hashes.is_in(seen.implode()))]) if len(seen) else hashes
        if len(seen) > limit:
            raise Reject(
                f"{step}: more than {limit} different values of {', '.join(columns)}, too many to hold in memory"
            )
        return frame

    return each(rows, check)


def guard_exact(rows: pl.LazyFrame, columns: Sequence[str], *, step: str) -> pl.LazyFrame:
    """The same rows; `Reject` where a column holds an integer that floats, which the figures are, don't hold."""

    def check(frame: pl.DataFrame) -> pl.DataFrame:
        wide = next((name for name in columns if inexact_as_float(frame[name])), None)
        if wide is not None:
            raise Reject(
                f"{step}: column {wide!r} holds integers beyond 2**53, whose median, deviation and variance would be "
                "rounded: filter them out, or leave the figure out"
            )
        return frame

    return each(rows, check) if columns else rows


def each(
    rows: pl.LazyFrame, function: Callable[[pl.DataFrame], pl.DataFrame], *, schema: pl.Schema | None = None
) -> pl.LazyFrame:
    """The rows, passed through a function batch by batch."""
    return rows.map_batches(function, streamable=True, validate_output_schema=False, schema=schema)
