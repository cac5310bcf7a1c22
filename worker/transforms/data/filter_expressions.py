"""Filter expressions as polars expressions, checked against the columns' types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal as OneOf

import polars as pl

from poolhouse.worker.errors import Reject
from worker.transforms.data.filter_syntax import Call, Column, FilterSyntaxError, Literal, Node, parse

Kind = OneOf["number", "text", "boolean", "date", "datetime", "other"]


@dataclass(frozen=True)
class _Typed:
    expression: pl.Expr
    kind: Kind
    #: The value of a literal.
    value: int | float | str | bool | None = None


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

    def want(self, node: Node, *kinds: Kind) -> _Typed:
        """The node's expression, of one of these kinds."""
        typed = self._compile(node)
        if typed.kind not in kinds:
            what = f"column {node.name!r}" if isinstance(node, Column) else "this"
            raise Reject(f"filter: at character {node.at}: {what} is of type {typed.kind}, not {' or '.join(kinds)}")
        return typed

    def _compile(self, node: Node) -> _Typed:
        match node:
            case Column(name, at):
                if name not in self._types:
                    known = ", ".join(map(repr, self._types))
                    raise Reject(
                        f"filter: at character {at}: there is no column {name!r}; the columns are {known}"[:1_000]
                    )
                return _Typed(pl.col(name), _kind(self._types[name]))
            case Literal(value, at):
                return _Typed(self._literal(value, at), _literal_kind(value), value)
            case Call("and" | "or", parts):
                expressions = [self.want(part, "boolean").expression for part in parts]
                joined = pl.all_horizontal if node.name == "and" else pl.any_horizontal
                return _Typed(joined(expressions), "boolean")
            case Call("not", (inner,)):
                return _Typed(~self.want(inner, "boolean").expression, "boolean")
            case Call("neg", (inner,)):
                return _Typed(-self.want(inner, "number").expression, "number")
            case Call("is_null", (inner,)):
                return _Typed(self._compile(inner).expression.is_null(), "boolean")
            case Call("in", (first, *others)):
                equal = [self._compared("=", first, other, node.at) for other in others]
                return _Typed(pl.any_horizontal(equal), "boolean")
            case Call("between", (inner, least, greatest)):
                at_least = self._compared(">=", inner, least, node.at)
                return _Typed(at_least & self._compared("<=", inner, greatest, node.at), "boolean")
            case Call("like", (inner, pattern)):
                regex = _like(str(self.want(pattern, "text").value))
                return _Typed(self.want(inner, "text").expression.str.contains(regex), "boolean")
            case Call("+" | "-" | "*" | "/" | "%", (left, right)):
                return _Typed(self._arithmetic(node.name, left, right), "number")
            case Call("=" | "!=" | "<" | "<=" | ">" | ">=", (left, right)):
                return _Typed(self._compared(node.name, left, right, node.at), "boolean")
            case Call():
                return self._function(node)

    def _literal(self, value: int | float | str | bool, at: int) -> pl.Expr:
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
            raise Reject(f"filter: at character {at}: the number does not fit into 64 bits")
        return pl.lit(value)

    def _arithmetic(self, sign: str, left: Node, right: Node) -> pl.Expr:
        # In floats throughout: integers would overflow silently.
        a = self.want(left, "number").expression.cast(pl.Float64)
        b = self.want(right, "number").expression.cast(pl.Float64)
        match sign:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case "/":
                return a / b
            case _:
                return a % b

    def _compared(self, sign: str, left: Node, right: Node, at: int) -> pl.Expr:
        a, b = self._compile(left), self._compile(right)
        a, b = _as_time(a, b.kind, left.at), _as_time(b, a.kind, right.at)
        times = {"date", "datetime"}
        if a.kind != b.kind and not {a.kind, b.kind} <= times:
            raise Reject(f"filter: at character {at}: a {a.kind} can't be compared with a {b.kind}")
        if a.kind == "other":
            raise Reject(f"filter: at character {at}: lists and objects can't be compared")
        x, y = a.expression, b.expression
        signs: dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
            "=": pl.Expr.eq,
            "!=": pl.Expr.ne,
            "<": pl.Expr.lt,
            "<=": pl.Expr.le,
            ">": pl.Expr.gt,
            ">=": pl.Expr.ge,
        }
        return signs[sign](x, y)

    def _function(self, node: Call) -> _Typed:
        first = node.arguments[0]
        match node.name:
            case "abs":
                return _Typed(self.want(first, "number").expression.abs(), "number")
            case "round":
                digits = node.arguments[1]
                if not (isinstance(digits, Literal) and isinstance(digits.value, int) and 0 <= digits.value <= 15):
                    raise Reject(f"filter: at character {digits.at}: round takes 0 to 15 digits")
                return _Typed(self.want(first, "number").expression.cast(pl.Float64).round(digits.value), "number")
        text = self.want(first, "text").expression.str
        match node.name:
            case "lower":
                return _Typed(text.to_lowercase(), "text")
            case "upper":
                return _Typed(text.to_uppercase(), "text")
            case "trim":
                return _Typed(text.strip_chars(), "text")
            case "length":
                return _Typed(text.len_chars().cast(pl.Int64), "number")
        part = self.want(node.arguments[1], "text").expression
        match node.name:
            case "contains":
                return _Typed(text.contains(part, literal=True), "boolean")
            case "starts_with":
                return _Typed(text.starts_with(part), "boolean")
            case "ends_with":
                return _Typed(text.ends_with(part), "boolean")
        raise AssertionError(f"no function {node.name}: the parser knows more than the compiler")


def _kind(dtype: pl.DataType) -> Kind:
    if dtype.is_numeric():
        return "number"
    kinds: dict[pl.DataType, Kind] = {pl.String(): "text", pl.Boolean(): "boolean", pl.Date(): "date"}
    if dtype in kinds:
        return kinds[dtype]
    return "datetime" if isinstance(dtype, pl.Datetime) else "other"


def _literal_kind(value: int | float | str | bool) -> Kind:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _as_time(typed: _Typed, other: Kind, at: int) -> _Typed:
    """A text literal that is compared with a time, as that time."""
    if other not in {"date", "datetime"} or not isinstance(typed.value, str):
        return typed
    try:
        parsed = datetime.fromisoformat(typed.value)
    except ValueError:
        raise Reject(f"filter: at character {at}: {typed.value!r} is no date or time such as 2026-11-30") from None
    if other == "date" and len(typed.value) <= len("2026-11-30"):
        return _Typed(pl.lit(date(parsed.year, parsed.month, parsed.day)), "date")
    return _Typed(pl.lit(parsed), "datetime")


def _like(pattern: str) -> str:
    """SQL's LIKE as a regular expression: `%` any text, `_` any character. polars' engine runs it in linear time."""
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return f"(?s)^{''.join(parts)}$"
