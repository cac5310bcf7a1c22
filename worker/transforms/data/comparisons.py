"""Comparisons that are exact whatever the types of the two sides: no side is ever rounded to fit the other.

polars casts a literal to the column's type (-1 becomes null among unsigned ones), integers to floats, and times to the
coarser unit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from typing import Literal as OneOf

import polars as pl

from worker.transforms.tables.table import integer_range

Kind = OneOf["number", "text", "boolean", "date", "datetime", "other"]
Value = int | float | str | bool | date | datetime

_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NANOSECONDS = {"ms": 1_000_000, "us": 1_000, "ns": 1}
_WIDE = pl.Int128()


@dataclass(frozen=True)
class Operand:
    """One side of an operator."""

    expression: pl.Expr
    kind: Kind
    dtype: pl.DataType
    #: The value of a literal.
    value: Value | None = None

    @property
    def bits(self) -> int:
        """Bits of an integer's values, the sign's included; 0 for anything else."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return self.value.bit_length() + 1
        if not self.dtype.is_integer():
            return 0
        least, most = integer_range(self.dtype)
        return max(least.bit_length(), most.bit_length()) + 1


def compare(sign: str, left: Operand, right: Operand) -> pl.Expr:
    """A boolean expression, null where a side is null.

    Raises:
        ValueError: the two can't be compared; its text says why.
    """
    if left.kind == "other" or right.kind == "other":
        odd = left if left.kind == "other" else right
        what = "lists and objects" if odd.dtype.is_nested() else f"values of type {str(odd.dtype.base_type()).lower()}"
        raise ValueError(f"{what} can't be compared")
    times = {"date", "datetime"}
    if left.kind != right.kind and not {left.kind, right.kind} <= times:
        raise ValueError(f"a {left.kind} can't be compared with a {right.kind}")
    if left.value is not None and right.value is not None:
        return pl.lit(_SIGNS[sign](left.value, right.value))
    if left.value is not None:
        return compare(_MIRRORED[sign], right, left)
    if left.kind == "number":
        return _numbers(sign, left, right)
    if left.kind in times:
        return _times(sign, left, right)
    return _plain(sign, left.expression, right.expression)


def _plain(sign: str, left: pl.Expr, right: pl.Expr) -> pl.Expr:
    expression: pl.Expr = _SIGNS[sign](left, right)
    return expression


def _numbers(sign: str, left: Operand, right: Operand) -> pl.Expr:
    value = right.value
    if isinstance(value, int | float):
        if left.dtype.is_integer():
            return _integer_with_literal(sign, left, value)
        if left.dtype.is_decimal():
            exact = Decimal(format(Decimal(repr(value)), "f"))
            return _plain(sign, left.expression, pl.lit(exact))
        return _float_with_literal(sign, left, value)
    if left.dtype.is_integer() and right.dtype.is_integer():
        if left.dtype == right.dtype:
            return _plain(sign, left.expression, right.expression)
        return _plain(sign, left.expression.cast(_WIDE), right.expression.cast(_WIDE))
    if left.dtype.is_integer() and right.dtype.is_float():
        return _integer_with_float(sign, left.expression, right.expression)
    if left.dtype.is_float() and right.dtype.is_integer():
        return _integer_with_float(_MIRRORED[sign], right.expression, left.expression)
    if left.dtype.is_float() or right.dtype.is_float():
        return _plain(sign, left.expression.cast(pl.Float64), right.expression.cast(pl.Float64))
    return _plain(sign, left.expression, right.expression)


def _integer_with_literal(sign: str, column: Operand, value: int | float) -> pl.Expr:
    x = column.expression
    if isinstance(value, float):
        if not value.is_integer():
            if sign in {"=", "!="}:
                return pl.when(x.is_not_null()).then(pl.lit(sign == "!="))
            below = sign in {"<", "<="}
            return _integer_with_literal(
                "<=" if below else ">=", column, math.floor(value) if below else math.ceil(value)
            )
        value = int(value)
    least, most = integer_range(column.dtype)
    if least <= value <= most:
        return _plain(sign, x, pl.lit(value, dtype=column.dtype))
    # Beyond what the column can hold: all of its values are on one side.
    return pl.when(x.is_not_null()).then(pl.lit(_SIGNS[sign](least if value > most else most, value)))


def _float_with_literal(sign: str, column: Operand, value: int | float) -> pl.Expr:
    x = column.expression
    if isinstance(value, float):
        return _plain(sign, x, pl.lit(value))
    x, nearest = x.cast(pl.Float64), float(value)
    if int(nearest) == value:
        return _plain(sign, x, pl.lit(nearest))
    if sign in {"=", "!="}:
        return pl.when(x.is_not_null()).then(pl.lit(sign == "!="))
    above = nearest if nearest > value else math.nextafter(nearest, math.inf)
    return x >= pl.lit(above) if sign in {">", ">="} else x < pl.lit(above)


def _integer_with_float(sign: str, integer: pl.Expr, number: pl.Expr) -> pl.Expr:
    # Rounding keeps the order, but for numbers that it makes equal: these are whole, and compared as integers.
    rounded, number = integer.cast(pl.Float64), number.cast(pl.Float64)
    exact = _plain(sign, integer.cast(_WIDE), number.cast(_WIDE, strict=False))
    return pl.when(rounded == number).then(exact).otherwise(_plain(sign, rounded, number))


def _times(sign: str, left: Operand, right: Operand) -> pl.Expr:
    left_zone, right_zone = _zone(left), _zone(right)
    if left_zone and not right_zone and right.value is not None:
        # A time as it is written is one of the column's zone.
        local = right.expression.cast(pl.Datetime("us")).dt.replace_time_zone(left_zone, ambiguous="earliest")
        right, right_zone = Operand(local, "datetime", pl.Datetime("us", left_zone)), left_zone
    if bool(left_zone) != bool(right_zone):
        raise ValueError("a time in a time zone can't be compared with one in none")
    if left.kind == right.kind == "date" or left.dtype == right.dtype:
        return _plain(sign, left.expression, right.expression)
    return _plain(sign, _nanoseconds(left), _nanoseconds(right))


def _zone(side: Operand) -> str | None:
    return side.dtype.time_zone if isinstance(side.dtype, pl.Datetime) else None


def _nanoseconds(side: Operand) -> pl.Expr:
    if isinstance(side.dtype, pl.Datetime):
        return side.expression.to_physical().cast(_WIDE) * _NANOSECONDS[side.dtype.time_unit]
    return side.expression.to_physical().cast(_WIDE) * (86_400 * _NANOSECONDS["ms"] * 1_000)
