"""Tables written frame by frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from worker.errors import Reject
from worker.tables.table import Format

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
    if output_format == "parquet":
        _write_parquet(frames, path, types)
        return
    nested = [name for name, dtype in types.items() if dtype.is_nested()]
    if output_format == "csv" and nested:
        raise Reject(f"column {nested[0]!r} holds lists or objects, which CSV has no form for: use ndjson or parquet")
    with path.open("wb") as target:
        if output_format == "csv":
            pl.DataFrame(schema=types).write_csv(target)
        for frame in frames:
            if output_format == "csv":
                frame.write_csv(target, include_header=False)
            else:
                frame.write_ndjson(target)


def _write_parquet(frames: Iterable[pl.DataFrame], path: Path, types: pl.Schema) -> None:
    from polars.io.plugins import register_io_source  # noqa: PLC0415  # not part of polars' public root

    def source(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterable[pl.DataFrame]:
        yield from frames

    register_io_source(source, schema=types).sink_parquet(  # type: ignore[arg-type]
        path, row_group_size=max(1, ROW_GROUP_VALUES // max(1, len(types))), engine="streaming"
    )
