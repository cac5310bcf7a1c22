"""Parquet files as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.tables.parquet_footer import check_row_groups
from worker.transforms.tables.table import Format, TableFile, Watch

#: What polars raises for broken files; for some its code panics, which is no `Exception`.
_BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet file; `open_parquet` makes one."""

    file: TableFile
    types: Mapping[str, pl.DataType]
    rows: int

    @property
    def format(self) -> Format:
        return "parquet"

    def proven(self) -> ParquetTable:
        return self

    def why(self, column: str) -> str:
        return f"the file declares {self.types[column]}"

    def frames(self, watch: Watch, *, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        lazy = pl.scan_parquet(self.file.path, glob=False)
        if columns is not None:
            lazy = lazy.select(columns)
        done, size_bytes = 0, self.file.size_bytes
        try:
            for frame in lazy.collect_batches(maintain_order=True, engine="streaming"):
                done += frame.height
                watch(size_bytes * done // max(self.rows, 1), size_bytes)
                yield frame
        except _BROKEN as error:
            raise Reject(f"the Parquet data is broken: {error}") from error


def open_parquet(file: TableFile) -> ParquetTable:
    """Read the footer of a Parquet file.

    Raises:
        Reject: it is none, or one of its row groups takes too much memory.
    """
    with file.path.open("rb") as source:
        check_row_groups(source)
    try:
        lazy = pl.scan_parquet(file.path, glob=False)
        types = dict(lazy.collect_schema())
        rows = int(lazy.select(pl.len()).collect().item())
    except (*_BROKEN, OSError) as error:
        raise Reject(f"not a readable Parquet file: {error}") from error
    return ParquetTable(file, types, rows)
