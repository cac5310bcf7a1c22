"""Columns of other types, with the first value that does not fit named."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.data.limits import each
from worker.transforms.tables.table import EXACT_INTEGERS, shortened, type_name

_ROW = "__poolhouse_row"
_DATE = r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$"
_DATETIME = r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}T[0-9]{2}:[0-9]{2}(?::[0-5][0-9](?:\.[0-9]{1,6}0*)?)?$"
#: A time with its distance from UTC: the time, the sign, hours and minutes.
_OFFSET = r"^(.*T.*[0-9]) ?([+-])([01][0-9]|2[0-3]):?([0-5][0-9])?$"
_WHOLE = r"^[+-]?[0-9]+(?:\.0*)?$"


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
                value = _shown(frame[name], index)
                raise Reject(f"cast: row {frame[_ROW][index]}: {value} in column {name!r} is no {type_name(dtype)}")
        return result.drop(_ROW)

    schema = pl.Schema({name: targets.get(name, dtype) for name, dtype in types.items()})
    return each(rows.with_row_index(_ROW, offset=1), check, schema=schema)


def _shown(values: pl.Series, index: int) -> str:
    try:
        return shortened(values[index])
    except (ValueError, OverflowError, pl.exceptions.PanicException):
        return "a value that is out of range"


def _fitted(column: pl.Expr, source: pl.DataType, target: pl.DataType) -> pl.Expr:
    """The column as `target`, null where a value does not fit: it would come out as another one."""
    if source == target:
        return column
    if isinstance(source, pl.Categorical | pl.Enum):
        return _fitted(column.cast(pl.String), pl.String(), target)
    if source == pl.Null():
        return column.cast(target)
    if source == pl.String():
        return _of_text(column.str.strip_chars(), target)
    if source == pl.Boolean() and not target.is_temporal():
        return column.cast(target)
    if source.is_numeric() and not target.is_temporal():
        return _of_number(column, source, target)
    if isinstance(source, pl.Date | pl.Datetime | pl.Time) and target == pl.String():
        return column.cast(target)
    if isinstance(source, pl.Date | pl.Datetime) and (target.is_temporal() or target == pl.Int64()):
        return _of_time(column, source, target)
    raise Reject(f"cast: a column of type {type_name(source)} can't become {type_name(target)}")


def _of_text(text: pl.Expr, target: pl.DataType) -> pl.Expr:
    if target == pl.Boolean():
        lower = text.str.to_lowercase()
        return pl.when(lower.is_in(["true", "1"])).then(True).when(lower.is_in(["false", "0"])).then(False)
    if target == pl.Date():
        # %Y takes years of two digits, as of the first century.
        return pl.when(text.str.contains(_DATE)).then(text.str.to_date("%Y-%m-%d", strict=False))
    if isinstance(target, pl.Datetime):
        return _datetime(text)
    if target == pl.Int64():
        # 3.0 is an integer, 3.5 is none; neither is rounded on the way.
        digits = text.str.replace(r"\.0*$", "")
        whole = pl.when(text.str.contains(_WHOLE)).then(digits.cast(pl.Int64, strict=False))
        powers = pl.when(text.str.contains("[eE]")).then(text.cast(pl.Float64, strict=False))
        return pl.coalesce(whole, _whole(pl.when(powers.abs() <= EXACT_INTEGERS).then(powers)))
    if target == pl.Float64():
        parsed = text.cast(pl.Float64, strict=False)
        # Infinity that is written as a number, and an integer that floats don't hold.
        overflow = parsed.is_infinite() & ~text.str.contains("(?i)inf")
        wide = text.str.contains(r"^[+-]?[0-9]{16,}(?:\.0*)?$")
        digits = text.str.replace(r"\.0*$", "").cast(pl.Int128, strict=False)
        rounded = wide & parsed.cast(pl.Int128, strict=False).ne_missing(digits)
        return pl.when(~(overflow | rounded)).then(parsed)
    return text


def _of_number(column: pl.Expr, source: pl.DataType, target: pl.DataType) -> pl.Expr:
    if target == pl.Boolean():
        return pl.when(column == 1).then(True).when(column == 0).then(False)
    if target == pl.Int64() and not source.is_integer():
        return _whole(column) if source.is_float() else pl.when(column == column.floor()).then(_strict(column, target))
    if target == pl.Float64() and source.is_integer():
        number = column.cast(pl.Float64)
        return pl.when(number.cast(pl.Int128, strict=False) == column.cast(pl.Int128, strict=False)).then(number)
    return _strict(column, target)


def _strict(column: pl.Expr, target: pl.DataType) -> pl.Expr:
    return column.cast(target, strict=False)


def _of_time(column: pl.Expr, source: pl.DataType, target: pl.DataType) -> pl.Expr:
    if isinstance(source, pl.Datetime) and source.time_zone and isinstance(target, pl.Datetime):
        # With no zone, a time is one of UTC: what the file says of the moment.
        column, source = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None), pl.Datetime(source.time_unit)
    result = column.cast(target, strict=False)
    if isinstance(source, pl.Datetime) and isinstance(target, pl.Datetime) and source.time_unit == "ns":
        return pl.when(column.to_physical() % 1_000 == 0).then(result)
    return result


def _whole(column: pl.Expr) -> pl.Expr:
    return pl.when(column == column.floor()).then(column.cast(pl.Int64, strict=False))


def _datetime(text: pl.Expr) -> pl.Expr:
    """ISO 8601, with T or blank, with or without fractions of a second: in UTC where it has a zone."""
    written = text.str.replace(" ", "T", literal=True)
    hours, minutes = (written.str.extract(_OFFSET, group).cast(pl.Int64).fill_null(0) for group in (3, 4))
    sign = pl.when(written.str.extract(_OFFSET, 2) == "-").then(-1).otherwise(1)
    ahead = pl.duration(minutes=sign * (hours * 60 + minutes), time_unit="us")
    clean = written.str.replace(_OFFSET, "$1").str.strip_suffix("Z")
    formats = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M")
    parsed = [clean.str.to_datetime(form, time_unit="us", strict=False) for form in formats]
    midnight = clean.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    known = pl.when(clean.str.contains(_DATETIME))
    return pl.coalesce(known.then(pl.coalesce(*parsed) - ahead), pl.when(clean.str.contains(_DATE)).then(midnight))
