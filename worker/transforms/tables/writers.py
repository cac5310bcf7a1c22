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
    types = rows.collect_schema()
    _check(types, output_format)
    if output_format == "ndjson":
        rows = rows.map_batches(_finite, streamable=True, validate_output_schema=False)
    with guarded(_what(types, output_format)):
        match output_format:
            case "csv":
                rows.sink_csv(path, engine="streaming")
            case "ndjson":
                rows.sink_ndjson(path, engine="streaming")
            case "parquet":
                rows.with_columns(_narrowed(types)).sink_parquet(
                    path, row_group_size=_row_group_size(types), engine="streaming"
                )


def write_frame(frame: pl.DataFrame, path: Path, output_format: Format) -> None:
    """Write a small table, with the same bytes as `write` gives."""
    _check(frame.schema, output_format)
    with guarded(_what(frame.schema, output_format)):
        match output_format:
            case "csv":
                frame.write_csv(path)
            case "ndjson":
                _finite(frame).write_ndjson(path)
            case "parquet":
                narrowed = frame.with_columns(_narrowed(frame.schema))
                narrowed.write_parquet(path, row_group_size=_row_group_size(frame.schema))


def _what(types: pl.Schema, output_format: Format) -> str:
    """What has failed where a table can't be written: of all values, times alone may be beyond what can be shown."""
    times = [name for name, dtype in types.items() if dtype.is_temporal()]
    hint = f": is a time of column {' or '.join(map(repr, times))} out of range?" if times else ""
    return f"the table can't be written as {output_format}{hint}"


def _check(types: pl.Schema, output_format: Format) -> None:
    """Refuse columns that the format has no form for."""
    if not types and output_format == "csv":
        raise Reject(
            "the objects have no keys at all, and CSV has no form for rows without columns: use ndjson or parquet"
        )
    for name, dtype in types.items():
        if not has_form(dtype, output_format):
            others = [other for other in MEDIA_TYPES if has_form(dtype, other)]
            what = "lists or objects" if dtype.is_nested() else f"values of type {type_name(dtype)}"
            hint = f": use {' or '.join(others)}" if others else ""
            raise Reject(f"column {name!r} holds {what}, which {_TITLES[output_format]} has no form for{hint}")


def _narrowed(types: pl.Schema) -> list[pl.Expr]:
    """Integers of 128 bits as decimals, which every reader of Parquet knows."""
    wide = [name for name, dtype in types.items() if dtype in (pl.Int128(), pl.UInt128())]
    return [pl.col(name).cast(pl.Decimal(38, 0)) for name in wide]


def _row_group_size(types: pl.Schema) -> int:
    return max(1, ROW_GROUP_VALUES // max(1, len(types)))


def _finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Refuse NaN and infinity, which polars writes as null."""
    for name, dtype in frame.schema.items():
        if dtype.is_float() and not frame[name].is_finite().all():
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
