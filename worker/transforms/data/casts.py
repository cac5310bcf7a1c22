"""Columns of other types, with the first value that does not fit named."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.data.limits import each
from worker.transforms.tables.table import shortened, type_name

_ROW = "__poolhouse_row"


def cast(rows: pl.LazyFrame, targets: Mapping[str, pl.DataType], *, keep_null: bool) -> pl.LazyFrame:
    """The rows with some columns of other types.

    Args:
        keep_null: make values that do not fit null, instead of raising `Reject`.
    """
    types = rows.collect_schema()
    changed = [_fitted(pl.col(name), types[name], dtype).alias(name) for name, dtype in targets.items()]
    if keep_null:
        return rows.with_columns(changed)

    def check(frame: pl.DataFrame) -> pl.DataFrame:
        result = frame.with_columns(changed)
        for name, dtype in targets.items():
            if result[name].null_count() > frame[name].null_count():
                index = (result[name].is_null() & frame[name].is_not_null()).arg_true()[0]
                value = shortened(frame[name][index])
                raise Reject(f"cast: row {frame[_ROW][index]}: {value} in column {name!r} is no {type_name(dtype)}")
        return result.drop(_ROW)

    schema = pl.Schema({name: targets.get(name, dtype) for name, dtype in types.items()})
    return each(rows.with_row_index(_ROW, offset=1), check, schema=schema)


def _fitted(column: pl.Expr, source: pl.DataType, target: pl.DataType) -> pl.Expr:
    """The column as `target`, null where a value does not fit."""
    if source == target:
        return column
    if source.is_nested() or (target.is_temporal() and not (source == pl.String() or source.is_temporal())):
        raise Reject(f"cast: a column of type {type_name(source)} can't become {type_name(target)}")
    if source == pl.String():
        text = column.str.strip_chars()
        if target == pl.Boolean():
            lower = text.str.to_lowercase()
            return pl.when(lower.is_in(["true", "1"])).then(True).when(lower.is_in(["false", "0"])).then(False)
        if target == pl.Date():
            return text.str.to_date("%Y-%m-%d", strict=False)
        if isinstance(target, pl.Datetime):
            return _datetime(text)
        if target == pl.Int64():
            # 3.0 is an integer, 3.5 is none.
            whole = text.cast(pl.Int64, strict=False)
            return pl.coalesce(whole, _whole(text.cast(pl.Float64, strict=False)))
        return text.cast(target, strict=False)
    if source.is_float() and target == pl.Int64():
        return _whole(column)
    return column.cast(target, strict=False)


def _whole(column: pl.Expr) -> pl.Expr:
    return pl.when(column == column.floor()).then(column.cast(pl.Int64, strict=False))


def _datetime(text: pl.Expr) -> pl.Expr:
    """ISO 8601, with T or blank, with or without fractions of a second; with no zone, or Z."""
    clean = text.str.replace(" ", "T", literal=True).str.strip_suffix("Z")
    formats = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M")
    parsed = [clean.str.to_datetime(form, time_unit="us", strict=False) for form in formats]
    midnight = clean.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    return pl.coalesce(*parsed, midnight)
