"""Which part of a file a request asks for: RFC 9110, sections 13 (conditions) and 14 (ranges). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.ASCII | re.IGNORECASE)
#: Digits of a position; no file has more, and Python reads longer numbers ever more slowly.
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Part:
    """The bytes of a file from `start` on, `length` of them."""

    start: int
    length: int

    def content_range(self, size_bytes: int) -> str:
        """The header that says which part of a file of that size it is."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size_bytes}"


class Unsatisfiable(ValueError):
    """The range begins behind the file's end."""


def part(header: str | None, *, size_bytes: int) -> Part | None:
    """Return the part that a Range header asks for; None for the whole file.

    A header that is malformed, or names several ranges or another unit, is ignored, as section 14.2 allows.

    Raises:
        Unsatisfiable: no byte of the file is in the range.
    """
    match = _ONE.fullmatch(header or "")
    if match is None or not any(match.groups()) or max(map(len, match.groups())) > _MOST_DIGITS:
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size_bytes - int(last)), size_bytes - 1
        if not int(last):
            raise Unsatisfiable
    else:
        start, end = int(first), min(int(last) if last else size_bytes - 1, size_bytes - 1)
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise Unsatisfiable
    return Part(start, end - start + 1)


def names(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names an entity tag, by the weak comparison that it has."""
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return etag in tags or tags == ["*"]
