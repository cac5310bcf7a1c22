"""A finished span, and its line of JSON in a file. Lines are validated: any process may have written them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

#: The longest line that is read, in bytes; characters of a text, attributes and events that are kept of a span.
LONGEST_LINE, MOST_CHARACTERS, MOST_ATTRIBUTES, MOST_EVENTS = 131_072, 1000, 64, 16
TASK_ID, ATTEMPT = "poolhouse.task_id", "poolhouse.attempt"
#: Nanoseconds since 1970: until the year 2262.
_MOST_NS = 2**63
_TRACE_ID, _SPAN_ID = re.compile(r"(?!0{32})[0-9a-f]{32}", re.ASCII), re.compile(r"(?!0{16})[0-9a-f]{16}", re.ASCII)


class InvalidSpan(ValueError):
    """A line that is no span."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a span, such as an exception."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Span:
    """One span. Its attributes are text: they are for people."""

    trace_id: str
    span_id: str
    #: None: it is the first of its trace, or its parent is recorded elsewhere.
    parent_id: str | None
    name: str
    #: OpenTelemetry's, in lower case: `internal`, `server`, `client`, `producer` or `consumer`.
    kind: str
    service: str
    start_ns: int
    end_ns: int
    failed: bool = False
    #: What is said of the failure.
    message: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    @property
    def task_id(self) -> str | None:
        """The task that it belongs to."""
        return self.attributes.get(TASK_ID)

    def line(self) -> bytes:
        """The span as a line of a file."""
        document = {**vars(self), "events": [vars(event) for event in self.events]}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line. Texts that are too long are cut, what is too many is left out. Raises `InvalidSpan`."""
        if len(line) > LONGEST_LINE:
            raise InvalidSpan("too long")
        try:
            document = json.loads(line)
            start_ns, end_ns = _time(document["start_ns"]), _time(document["end_ns"])
            parent_id = document["parent_id"]
            return cls(
                trace_id=_id(document["trace_id"], _TRACE_ID),
                span_id=_id(document["span_id"], _SPAN_ID),
                parent_id=None if parent_id is None else _id(parent_id, _SPAN_ID),
                name=_text(document["name"]),
                kind=_text(document["kind"]),
                service=_text(document["service"]),
                start_ns=start_ns,
                end_ns=max(start_ns, end_ns),
                failed=document["failed"] is True,
                message=_text(document["message"]),
                attributes=attributes(document["attributes"]),
                events=tuple(
                    Event(name=_text(event["name"]), attributes=attributes(event["attributes"]))
                    for event in islice(_list(document["events"]), MOST_EVENTS)
                ),
            )
        except InvalidSpan:
            raise
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InvalidSpan(f"{type(error).__name__}: {error}") from None


def attributes(found: Any) -> dict[str, str]:
    """Attributes as text, those beyond `MOST_ATTRIBUTES` left out. Raises `InvalidSpan`."""
    if not isinstance(found, Mapping):
        raise InvalidSpan("attributes that are no object")
    return {_text(name): _text(value) for name, value in islice(found.items(), MOST_ATTRIBUTES)}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value[:MOST_CHARACTERS]
    if isinstance(value, list | tuple):
        return ", ".join(_text(each) for each in value[:MOST_ATTRIBUTES])[:MOST_CHARACTERS]
    return str(value)[:MOST_CHARACTERS]


def _list(value: object) -> Iterable[Any]:
    if not isinstance(value, list):
        raise InvalidSpan("events that are no list")
    return value


def _id(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidSpan("an id that is none")
    return value


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST_NS:
        raise InvalidSpan("a time that is none")
    return value
