"""As much of Cloud Logging's query language as a person's `invoke logs` sends; all else is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from poolhouse.cloud.rehearsal.http import ApiError

#: Answers whether an entry is asked for.
Condition = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z_][\w.]*(?:"[^"]*")?|>=|<=|[=:()])')
_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda found, asked: found == asked,
    ":": lambda found, asked: asked.lower() in found.lower(),
    ">=": lambda found, asked: found >= asked,
    "<=": lambda found, asked: found <= asked,
}


def parse(text: str) -> Condition:
    """The condition that a filter states. Raises `ApiError` (400) for what is not understood."""
    tokens: list[str] = []
    at = 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _unparseable(text, at)
        tokens.append(match[1])
        at = match.end()
    if not tokens:
        return lambda entry: True
    reader = _Reader(tokens, text)
    condition = reader.all_of()
    if reader.next:
        raise _unparseable(text, 0)
    return condition


class _Reader:
    """Reads a condition by recursive descent. Cloud Logging, query language: OR binds before AND."""

    def __init__(self, tokens: list[str], text: str) -> None:
        self._tokens, self._text = tokens, text

    @property
    def next(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def all_of(self) -> Condition:
        parts = [self._any_of(self._one)]
        while self._took("AND"):
            parts.append(self._any_of(self._one))
        return lambda entry: all(part(entry) for part in parts)

    def _any_of(self, read: Callable[[], Condition]) -> Condition:
        parts = [read()]
        while self._took("OR"):
            parts.append(read())
        return lambda entry: any(part(entry) for part in parts)

    def _one(self) -> Condition:
        if self._took("("):
            inside = self.all_of()
            self._expect(")")
            return inside
        path, comparison = self._take(), self._take()
        if comparison not in _COMPARISONS:
            raise _unparseable(self._text, 0)
        if self._took("("):
            inside = self._any_of(lambda: self._compare(path, comparison))
            self._expect(")")
            return inside
        return self._compare(path, comparison)

    def _compare(self, path: str, comparison: str) -> Condition:
        asked, compare = self._take().strip('"'), _COMPARISONS[comparison]
        return lambda entry: (found := _field(entry, path)) is not None and compare(found, asked)

    def _took(self, token: str) -> bool:
        if self.next != token:
            return False
        del self._tokens[0]
        return True

    def _expect(self, token: str) -> None:
        if not self._took(token):
            raise _unparseable(self._text, 0)

    def _take(self) -> str:
        if not self._tokens:
            raise _unparseable(self._text, 0)
        return self._tokens.pop(0)


def _field(entry: Any, path: str) -> str | None:
    for part in path.replace('"', "").split("."):
        entry = entry.get(part) if isinstance(entry, Mapping) else None
    return None if entry is None else str(entry)


def _unparseable(text: str, at: int) -> ApiError:
    return ApiError("INVALID_ARGUMENT", f"Unparseable filter: syntax error at {at}: {text[at : at + 80]}")
