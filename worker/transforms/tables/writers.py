"""Tables written frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from poolhouse.worker.errors import Reject
from worker.transforms.tables.table import Format

MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
#: Values of a row group of Parquet files, all columns together: those are held in memory while it is written or read.
ROW_GROUP_VALUES = 2_000_000


def write(frames: Iterable[pl.DataFrame], path: Path, output_format: Format, *, types: pl.Schema) -> None:
    """Write all frames to one file.

    Raises:
        Reject: a column's type has no form in the format.
    """

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        yield from frames

    write_lazy(register_io_source(source, schema=types), path, output_format)


def write_lazy(rows: pl.LazyFrame, path: Path, output_format: Format) -> None:
    """Run a query in the streaming engine, into one file. Raises as `write` does."""
    types = rows.collect_schema()
    nested = [name for name, dtype in types.items() if dtype.is_nested()]
    match output_format:
        case "csv" if nested:
            raise Reject(
                f"column {nested[0]!r} holds lists or objects, which CSV has no form for: use ndjson or parquet"
            )
        case "csv":
            rows.sink_csv(path, engine="streaming")
        case "ndjson":
            rows.sink_ndjson(path, engine="streaming")
        case "parquet":
            row_group_size = max(1, ROW_GROUP_VALUES // max(1, len(types)))
            rows.sink_parquet(path, row_group_size=row_group_size, engine="streaming")
