"""What polars' CSV reader takes without a word though a value would change: found in the bytes of a block.

Both searches run over all bytes in vector instructions, a fifth of what parsing costs. What they find may be harmless;
then a closer look is taken.
"""

from __future__ import annotations

import functools
import operator
import re

import polars as pl

from worker.transforms.tables.rows import QUOTE, Row, octets

_ZERO, _NINE, _POINT, _PLUS, _MINUS, _COMMA, _LINE_FEED, _CARRIAGE_RETURN = b"09.+-,\n\r"


def code_like(text: bytes, separator: bytes) -> bool:
    """Whether a field may start with a plus, or with a zero before another digit, a minus before or not; or be -0."""
    size = len(text) - 3
    if size < 1 or not text.endswith(b"\n"):
        return True
    # Four neighbours at each place, the field's first character second. What is looked for begins with a low one
    # behind a low one, as few others do: the closer look takes those alone.
    found = octets(text)
    first, second, third, fourth = (found.slice(start, size) for start in range(4))
    low = (first <= _COMMA) & (second <= _ZERO)
    if separator[0] > _COMMA:
        low |= (first == separator[0]) & (second <= _ZERO)
    starting, after = second.filter(low), third.filter(low)
    coded = (starting == _PLUS) | ((starting == _ZERO) & (after >= _ZERO) & (after <= _NINE))
    negative = (starting == _MINUS) & (after == _ZERO)
    if negative.any():
        coded |= negative & (fourth.filter(low) != _POINT)
    if not coded.any():
        return False
    before = first.filter(low).filter(coded)
    if _is_one_of(before, separator + b'\n"').any():
        return True
    if not _is_one_of(before, b" \t").any():
        return False
    # Within a text, such as that of a time; unless there are blanks where fields start.
    blank = _is_one_of(second, b" \t".replace(separator, b""))
    return bool((_is_one_of(first, separator + b'\n"') & blank).any())


def stray_quotes(text: bytes, separator: bytes) -> bool:
    """Whether a quote stands where RFC 4180 has none: in the middle of a field, and not as one of two."""
    if QUOTE not in text:
        return False
    found = octets(text if text.endswith(b"\n") else text + b"\n")
    size = len(found) - 2
    # A block begins with the header that is put before it, so that no quote is its first byte.
    quotes = found.slice(1, size) == QUOTE[0]
    # By their parity they open and close; of a doubled one, the first closes and the second opens again.
    opens = _is_one_of(found.head(size).filter(quotes), separator + b'\n"')
    closes = _is_one_of(found.slice(2).filter(quotes), separator + b'\n\r"')
    return not (opens.all() or opens.gather_every(2).all()) or not (closes.all() or closes.gather_every(2, 1).all())


def _is_one_of(found: pl.Series, characters: bytes) -> pl.Series:
    """As `is_in`, in a fifth of the time for so few."""
    return functools.reduce(operator.or_, (found == character for character in characters))


def has_stray_quote(row: Row, separator: bytes) -> bool:
    """The same for one row, with more patience: in a field that begins with none, quotes in pairs are kept."""
    if QUOTE not in row.data:
        return False
    mark = re.escape(separator)
    field = rb'(?:"(?:[^"]|"")*"|(?!")[^%b\n]*)' % mark
    line = row.data.removesuffix(b"\n").removesuffix(b"\r")
    if not re.fullmatch(rb"%b(?:%b%b)*" % (field, mark, field), line):
        return True
    bare = re.sub(rb'(?:^|(?<=%b))"(?:[^"]|"")*"(?=%b|$)' % (mark, mark), b"", line)
    return any(part.count(QUOTE) % 2 for part in bare.split(separator))
