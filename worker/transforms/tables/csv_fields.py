"""What polars' CSV reader takes without a word though a value would change: found in the bytes of a block.

Both searches run over all bytes in vector instructions, a fifth of what parsing costs. What they find may be harmless;
then a closer look is taken.
"""

from __future__ import annotations

import re

from worker.transforms.tables.rows import QUOTE, Row, octets

_ZERO, _POINT, _PLUS, _MINUS, _LINE_FEED, _CARRIAGE_RETURN = b"0.+-\n\r"


def code_like(text: bytes, separator: bytes) -> bool:
    """Whether a field may start with a plus, or with a zero before another digit, a minus before or not; or be -0."""
    size = len(text) - 3
    if size < 1 or not text.endswith(b"\n"):
        return True
    found = octets(text)
    ends = (found == separator[0]) | (found == _LINE_FEED)
    starts = ends | (found == QUOTE[0]) if QUOTE in text else ends
    for blank in (b" ", b"\t"):
        if blank in text and blank != separator:
            blanks = found == blank[0]
            if (starts.head(size) & blanks.slice(1, size)).any():
                starts |= blanks
    if b"+" in text and (starts.head(size) & (found == _PLUS).slice(1, size)).any():
        return True
    # 0.5 is what most fields with a zero in front are; a single 0 ends with its field.
    zeros = found == _ZERO
    after = found.slice(2, size).filter(starts.head(size) & zeros.slice(1, size))
    fine = after.is_in([_POINT, _LINE_FEED, _CARRIAGE_RETURN, QUOTE[0], separator[0]])
    if not fine.all():
        return True
    negative = starts.head(size) & (found == _MINUS).slice(1, size)
    return bool((found.slice(3).filter(negative & zeros.slice(2, size)) != _POINT).any())


def stray_quotes(text: bytes, separator: bytes) -> bool:
    """Whether a quote stands where RFC 4180 has none: in the middle of a field, and not as one of two."""
    if QUOTE not in text:
        return False
    found = octets(b"\n" + text + b"\n") if not text.endswith(b"\n") else octets(text)
    quotes = found == QUOTE[0]
    size = len(found) - 1
    # By their parity they open and close; of a doubled one, the first closes and the second opens again. A block
    # begins with the header that is put before it, so that none is its first byte.
    before = found.head(size).filter(quotes.slice(1)).gather_every(2)
    after = found.slice(1).filter(quotes.head(size)).gather_every(2, 1)
    opens = before.is_in([separator[0], _LINE_FEED, QUOTE[0]])
    closes = after.is_in([separator[0], _LINE_FEED, _CARRIAGE_RETURN, QUOTE[0]])
    return not (opens.all() and closes.all())


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
