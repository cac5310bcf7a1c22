"""Filter expressions as polars expressions, checked against the columns' types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.data.comparisons import Kind, Operand, compare
from worker.transforms.data.filter_syntax import Call, Column, FilterSyntaxError, Literal, Node, parse

#: Bits that the integer arithmetic of an expression may need; beyond, it is in floats.
_MAX_BITS = 127


def compile_filter(text: str, types: Mapping[str, pl.DataType]) -> pl.Expr:
    """A boolean expression; null, as in SQL, where a value that decides is null.

    Raises:
        Reject: it names no column of the table, or compares what can't be compared.
    """
    try:
        node = parse(text)
    except FilterSyntaxError as error:
        raise Reject(f"filter: {error}") from None
    return _Compiler(types).want(node, "boolean").expression


class _Compiler:
    def __init__(self, types: Mapping[str, pl.DataType]) -> None:
        self._types = types

    def want(self, node: Node, *kinds: Kind) -> Operand:
        """The node's expression, of one of these kinds."""
        typed = self._compile(node)
        if typed.kind not in kinds:
            what = f"column {node.name!r}" if isinstance(node, Column) else "this"
            raise Reject(f"filter: at character {node.at}: {what} is of type {typed.kind}, not {' or '.join(kinds)}")
        return typed

    def _compile(self, node: Node) -> Operand:
        match node:
            case Column(name, at):
                if name not in self._types:
                    known = ", ".join(map(repr, self._types))
                    raise Reject(
                        f"filter: at character {at}: there is no column {name!r}; the columns are {known}"[:1_000]
                    )
                return _column(name, self._types[name])
            case Literal(value, at):
                return _literal(value, at)
            case Call("and" | "or", parts):
                expressions = [self.want(part, "boolean").expression for part in parts]
                joined = pl.all_horizontal if node.name == "and" else pl.any_horizontal
                return _boolean(joined(expressions))
            case Call("not", (inner,)):
                return _boolean(~self.want(inner, "boolean").expression)
            case Call("neg", (Literal(int() | float() as value, at),)) if not isinstance(value, bool):
                return _literal(-value, at)
            case Call("neg", (inner,)):
                return self._arithmetic("-", Literal(0, node.at), inner)
            case Call("is_null", (inner,)):
                return _boolean(self._compile(inner).expression.is_null())
            case Call("in", (first, *others)):
                equal = [self._compared("=", first, other, node.at) for other in others]
                return _boolean(pl.any_horizontal(equal))
            case Call("between", (inner, least, greatest)):
                at_least = self._compared(">=", inner, least, node.at)
                return _boolean(at_least & self._compared("<=", inner, greatest, node.at))
            case Call("like", (inner, pattern)):
                regex = _like(str(self.want(pattern, "text").value))
                return _boolean(self.want(inner, "text").expression.str.contains(regex))
            case Call("+" | "-" | "*" | "/" | "%", (left, right)):
                return self._arithmetic(node.name, left, right)
            case Call("=" | "!=" | "<" | "<=" | ">" | ">=", (left, right)):
                return _boolean(self._compared(node.name, left, right, node.at))
            case Call():
                return self._function(node)

    def _arithmetic(self, sign: str, left: Node, right: Node) -> Operand:
        x, y = self.want(left, "number"), self.want(right, "number")
        bits = x.bits + y.bits if sign == "*" else max(x.bits, y.bits) + 1
        dtype: pl.DataType = pl.Float64()  # integers of as many bits would overflow silently
        if x.bits and y.bits and sign != "/" and bits <= _MAX_BITS:
            dtype = pl.Int64() if bits < 64 else pl.Int128()
        a, b = x.expression.cast(dtype), y.expression.cast(dtype)
        match sign:
            case "+":
                result = a + b
            case "-":
                result = a - b
            case "*":
                result = a * b
            case "/":
                result = a / b
            case _:
                result = a % b
        return Operand(result, "number", dtype)

    def _compared(self, sign: str, left: Node, right: Node, at: int) -> pl.Expr:
        a, b = self._compile(left), self._compile(right)
        a, b = _as_time(a, b.kind, left.at), _as_time(b, a.kind, right.at)
        try:
            return compare(sign, a, b)
        except ValueError as error:
            raise Reject(f"filter: at character {at}: {error}") from None

    def _function(self, node: Call) -> Operand:
        first = node.arguments[0]
        match node.name:
            case "abs":
                number = self.want(first, "number")
                # The least integer of a type has no counterpart in it.
                wide = replace(number, expression=number.expression.cast(pl.Int128), dtype=pl.Int128())
                number = wide if number.dtype.is_integer() else number
                return replace(number, expression=number.expression.abs(), value=None)
            case "round":
                digits = node.arguments[1]
                if not (isinstance(digits, Literal) and isinstance(digits.value, int) and 0 <= digits.value <= 15):
                    raise Reject(f"filter: at character {digits.at}: round takes 0 to 15 digits")
                number = self.want(first, "number")
                if number.dtype.is_integer():
                    return number
                return Operand(number.expression.cast(pl.Float64).round(digits.value), "number", pl.Float64())
        text = self.want(first, "text").expression.str
        match node.name:
            case "lower":
                return Operand(text.to_lowercase(), "text", pl.String())
            case "upper":
                return Operand(text.to_uppercase(), "text", pl.String())
            case "trim":
                return Operand(text.strip_chars(), "text", pl.String())
            case "length":
                return Operand(text.len_chars().cast(pl.Int64), "number", pl.Int64())
        part = self.want(node.arguments[1], "text").expression
        match node.name:
            case "contains":
                return _boolean(text.contains(part, literal=True))
            case "starts_with":
                return _boolean(text.starts_with(part))
            case "ends_with":
                return _boolean(text.ends_with(part))
        raise AssertionError(f"no function {node.name}: the parser knows more than the compiler")


def _kind(dtype: pl.DataType) -> Kind:
    if dtype.is_numeric():
        return "number"
    kinds: dict[pl.DataType, Kind] = {pl.String(): "text", pl.Boolean(): "boolean", pl.Date(): "date"}
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return "text"
    if dtype in kinds:
        return kinds[dtype]
    return "datetime" if isinstance(dtype, pl.Datetime) else "other"


def _boolean(expression: pl.Expr) -> Operand:
    return Operand(expression, "boolean", pl.Boolean())


def _column(name: str, dtype: pl.DataType) -> Operand:
    expression, kind = pl.col(name), _kind(dtype)
    if kind == "text" and dtype != pl.String():
        expression, dtype = expression.cast(pl.String), pl.String()
    return Operand(expression, kind, dtype)


def _literal(value: int | float | str | bool, at: int) -> Operand:
    if isinstance(value, bool):
        return Operand(pl.lit(value), "boolean", pl.Boolean(), value)
    if isinstance(value, str):
        return Operand(pl.lit(value), "text", pl.String(), value)
    if isinstance(value, float):
        return Operand(pl.lit(value), "number", pl.Float64(), value)
    if not -(2**63) <= value < 2**64:
        raise Reject(f"filter: at character {at}: the number does not fit into 64 bits")
    dtype = pl.Int64() if value < 2**63 else pl.UInt64()
    return Operand(pl.lit(value, dtype=dtype), "number", dtype, value)


def _as_time(operand: Operand, other: Kind, at: int) -> Operand:
    """A text literal that is compared with a time, as that time."""
    if other not in {"date", "datetime"} or not isinstance(operand.value, str):
        return operand
    try:
        parsed = datetime.fromisoformat(operand.value)
    except ValueError:
        raise Reject(f"filter: at character {at}: {operand.value!r} is no date or time such as 2026-11-30") from None
    if other == "date" and len(operand.value) <= len("2026-11-30"):
        day = date(parsed.year, parsed.month, parsed.day)
        return Operand(pl.lit(day), "date", pl.Date(), day)
    if parsed.tzinfo is not None:
        parsed = parsed.astimezone(UTC)
    zone = "UTC" if parsed.tzinfo is not None else None
    return Operand(pl.lit(parsed, dtype=pl.Datetime("us", zone)), "datetime", pl.Datetime("us", zone), parsed)


def _like(pattern: str) -> str:
    """SQL's LIKE as a regular expression: `%` any text, `_` any character. polars' engine runs it in linear time."""
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return f"(?s)^{''.join(parts)}$"
