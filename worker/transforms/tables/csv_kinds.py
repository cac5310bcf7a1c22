"""The types of CSV columns, from the texts of their values.

A type fits where it keeps every value: a number that would come out as another one makes its column text.
"""

from __future__ import annotations

from enum import Flag, auto

import polars as pl

from worker.transforms.tables.table import inexact_as_float

_BLANKS = r"^[ \t]*"
_INTEGER = _BLANKS + r"-?(?:0|[1-9][0-9]*)$"
_NOT_FINITE = _BLANKS + r"-?(?i:nan|inf|infinity)$"
_NUMBER = _BLANKS + r"-?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf|infinity))$"
#: Codes such as 00501 and +49171: numbers to most readers, but their zeros and signs would be gone.
_CODE = _BLANKS + r"(?:\+|-?0[0-9])"
_NEGATIVE_ZERO = _BLANKS + r"-0$"
#: 1E5 is a code where its neighbours are integers; programs write the exponents of floats with a sign or a point.
_BARE_EXPONENT = _BLANKS + r"-?[0-9]+[eE][0-9]+$"
#: The digits before the point, where there are so many that a float may not hold them.
_WIDE = _BLANKS + r"(-?[0-9]{16,})(?:\.[0-9]*)?$"
_BOOLEAN = r"^(?i:true|false)$"


class Kinds(Flag):
    """What the values of a column are; those of two blocks are joined by `|`."""

    NOTHING = 0
    INTEGER = auto()
    FRACTION = auto()
    NOT_FINITE = auto()
    BARE_EXPONENT = auto()
    #: An integer that no float holds.
    WIDE = auto()
    BOOLEAN = auto()
    TEXT = auto()

    @property
    def dtype(self) -> pl.DataType:
        """The type that keeps all of them; Null where there are none."""
        numbers = Kinds.INTEGER | Kinds.FRACTION | Kinds.NOT_FINITE | Kinds.BARE_EXPONENT | Kinds.WIDE
        if not self:
            return pl.Null()
        if self == Kinds.BOOLEAN:
            return pl.Boolean()
        if not self & numbers or self & ~numbers:
            return pl.String()
        if not self & ~(Kinds.INTEGER | Kinds.WIDE):
            return pl.Int64()
        is_code = Kinds.BARE_EXPONENT in self and Kinds.INTEGER in self and Kinds.FRACTION not in self
        return pl.String() if Kinds.WIDE in self or is_code else pl.Float64()


def kinds(texts: pl.Series) -> Kinds:
    """What the values of a column are, as polars reads it as text. An empty one in quotes is none to numbers."""
    values = texts.drop_nulls()
    if values.is_empty():
        return Kinds.NOTHING
    if not values.str.contains(_BOOLEAN + "|" + _NUMBER + "|^$").all():
        return Kinds.TEXT
    values = values.filter(values != "")
    if values.is_empty():
        return Kinds.TEXT
    booleans = values.str.contains(_BOOLEAN)
    if booleans.any():
        return Kinds.BOOLEAN if booleans.all() else Kinds.TEXT
    return _number_kinds(values)


def _number_kinds(values: pl.Series) -> Kinds:
    if values.str.contains(_CODE).any():
        return Kinds.TEXT
    found = Kinds.NOTHING
    integers = values.str.contains(_INTEGER)
    if integers.any():
        found |= Kinds.INTEGER
        whole = values.filter(integers).str.strip_chars_start(" \t").cast(pl.Int64, strict=False)
        if whole.null_count():
            return Kinds.TEXT
        if inexact_as_float(whole):
            found |= Kinds.WIDE
    if integers.all():
        return found | (Kinds.FRACTION if values.str.contains(_NEGATIVE_ZERO).any() else Kinds.NOTHING)
    others = values.filter(~integers)
    if others.str.contains(_WIDE).any():
        whole = others.str.extract(_WIDE).drop_nulls().cast(pl.Int128, strict=False)
        if whole.null_count() or inexact_as_float(whole):
            found |= Kinds.WIDE
    not_finite, bare = others.str.contains(_NOT_FINITE), others.str.contains(_BARE_EXPONENT)
    if not_finite.any():
        found |= Kinds.NOT_FINITE
    if bare.any():
        found |= Kinds.BARE_EXPONENT
    finite = others.filter(~not_finite)
    if not finite.str.strip_chars_start(" \t").cast(pl.Float64, strict=False).is_finite().all():
        return Kinds.TEXT  # 1e400
    return found if (not_finite | bare).all() else found | Kinds.FRACTION


def known_kinds(dtype: pl.DataType) -> Kinds:
    """What a column of this type may hold, for all that is known."""
    if dtype == pl.Int64():
        return Kinds.INTEGER
    if dtype == pl.Float64():
        return Kinds.FRACTION
    if dtype == pl.Boolean():
        return Kinds.BOOLEAN
    return Kinds.NOTHING if dtype == pl.Null() else Kinds.TEXT


def misfit(texts: pl.Series, dtype: pl.DataType) -> int | None:
    """Where the first value is that keeps a column from being of this type (numbers, where it is none else)."""
    pattern = _BOOLEAN if dtype == pl.Boolean() else _NUMBER + "|^$"
    index = (~texts.str.contains(pattern) | texts.str.contains(_CODE)).arg_true().min()
    return index if isinstance(index, int) else None
