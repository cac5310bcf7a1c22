"""Tables written frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from poolhouse.worker.errors import Reject
from worker.transforms.tables.guard import guarded
from worker.transforms.tables.table import Format, instance, type_name

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
    ready, row_group_size = _ready(rows, output_format)
    with guarded(f"the table can't be written as {output_format}"):
        match output_format:
            case "csv":
                ready.sink_csv(path, engine="streaming")
            case "ndjson":
                ready.sink_ndjson(path, engine="streaming")
            case "parquet":
                ready.sink_parquet(path, row_group_size=row_group_size, engine="streaming")


def write_frame(frame: pl.DataFrame, path: Path, output_format: Format) -> None:
    """Write a small table, with the same bytes as `write` gives."""
    ready, row_group_size = _ready(frame.lazy(), output_format)
    frame = ready.collect(engine="in-memory")
    with guarded(f"the table can't be written as {output_format}"):
        match output_format:
            case "csv":
                frame.write_csv(path)
            case "ndjson":
                frame.write_ndjson(path)
            case "parquet":
                frame.write_parquet(path, row_group_size=row_group_size)


def _ready(rows: pl.LazyFrame, output_format: Format) -> tuple[pl.LazyFrame, int]:
    """The rows with columns that the format has a form for, and how many of them a row group of Parquet takes."""
    types = rows.collect_schema()
    for name, dtype in types.items():
        if not has_form(dtype, output_format):
            other = "use parquet" if output_format == "ndjson" else "use ndjson"
            hint = "use ndjson or parquet" if dtype.is_nested() and output_format == "csv" else other
            if _holds(dtype, _is_binary) or dtype == pl.Duration() and output_format == "csv":
                hint = "use parquet"
            what = "lists or objects" if dtype.is_nested() else type_name(dtype)
            raise Reject(f"column {name!r} holds {what}, which {_TITLES[output_format]} has no form for: {hint}")
    wide = [name for name, dtype in types.items() if dtype in (pl.Int128(), pl.UInt128())]
    if output_format == "parquet" and wide:
        rows = rows.with_columns(pl.col(wide).cast(pl.Decimal(38, 0)))
    floats = [name for name, dtype in types.items() if dtype.is_float()]
    if output_format == "ndjson" and floats:
        rows = rows.map_batches(lambda frame: _finite(frame, floats), streamable=True, validate_output_schema=False)
    return rows, max(1, ROW_GROUP_VALUES // max(1, len(types)))


def _finite(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Refuse NaN and infinity, which polars writes as null."""
    for name in columns:
        if not frame[name].is_finite().all():
            raise Reject(
                f"column {name!r} holds NaN or infinity, which JSON has no form for: filter them out, or use csv"
            )
    return frame


_TITLES: dict[Format, str] = {"csv": "CSV", "ndjson": "NDJSON", "parquet": "Parquet"}


def has_form(dtype: pl.DataType, output_format: Format) -> bool:
    """Whether a format can hold a column's values."""
    match output_format:
        case "csv":
            return not (dtype.is_nested() or dtype in (pl.Binary(), pl.Object(), pl.Duration()))
        case "ndjson":
            return not _holds(dtype, _is_binary)
        case "parquet":
            return not _holds(dtype, lambda inner: inner == pl.Struct([]) or inner == pl.Object())


def _is_binary(dtype: pl.DataType) -> bool:
    return dtype in (pl.Binary(), pl.Object())


def _holds(dtype: pl.DataType, test: Callable[[pl.DataType], bool]) -> bool:
    """Whether a type, or one inside of it, passes a test."""
    if test(dtype):
        return True
    if isinstance(dtype, pl.Struct):
        return any(_holds(instance(field.dtype), test) for field in dtype.fields)
    return isinstance(dtype, pl.List | pl.Array) and _holds(instance(dtype.inner), test)
