"""What the index holds of a task, made of its record or of its message, and the line of a segment that carries it.

Pure: no I/O, no clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.messaging.message import LINKS, NOT_BEFORE, PUT_OFF, parse_time
from poolhouse.pipeline.tasks.records import Status, TaskRecord

#: Characters kept of a payload, of an error and of a result: what a search for text looks at.
EXCERPT = 200
#: Bytes of a message that its excerpt is made of.
_HEAD_BYTES = 1000
#: Bytes of a message's end in which its links are looked for: they are its last field.
_TAIL_BYTES = 4000
_SUBMITTED_AT = re.compile(rb'"submitted_at"\s*:\s*"([^"]*)"\s*,?')
_LINKS = f'"{LINKS}":'.encode()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = json.JSONEncoder(ensure_ascii=False, default=str)


class Entry(NamedTuple):
    """A task. Times are microseconds since 1970."""

    task_id: str
    task_type: str
    queue: str
    status: str
    submitted: int
    updated: int
    #: When a task with a time is due.
    due: int | None
    #: When its first attempt began, and its last one.
    started: int | None
    last_started: int | None
    #: When it ended for good.
    ended: int | None
    attempts: int
    reason: str
    #: The beginnings of payload, error and result, in lower case.
    text: str
    #: 1 where it comes from a record; 0 where no worker has touched the task.
    recorded: int
    #: The task that submitted it, or whose end it follows.
    parent: str | None = None
    #: The trigger or the schedule that submitted it.
    trigger: str | None = None
    schedule: str | None = None


def of_record(record: TaskRecord) -> Entry:
    """The entry of a record as it was just written."""
    attempts = record.attempts
    last = attempts[-1] if attempts else None
    error = last.error if last is not None else None
    reason = record.reason or (f"{error.type}: {error.message}" if error is not None else "")
    ended = None
    if record.status.final:
        ended = micros((last.ended_at if last is not None else None) or record.updated_at)
    return Entry(
        task_id=record.task_id,
        task_type=record.task_type,
        queue=record.queue,
        status=str(record.status),
        submitted=micros(record.submitted_at),
        updated=micros(record.updated_at),
        due=None if record.not_before is None else micros(record.not_before),
        started=micros(attempts[0].started_at) if attempts else None,
        last_started=micros(last.started_at) if last is not None else None,
        ended=ended,
        attempts=record.last_attempt,
        reason=clean_text(reason, limit=EXCERPT, one_line=True),
        text=_text(excerpt(record.payload), reason[:EXCERPT], "" if record.result is None else excerpt(record.result)),
        recorded=1,
        parent=record.parent_id,
        trigger=record.trigger,
        schedule=record.schedule,
    )


def of_message(data: bytes, attributes: Mapping[str, str], published_at: datetime) -> Entry:
    """The entry of a message that has just been published."""
    head = data[:_HEAD_BYTES]
    found = _SUBMITTED_AT.search(head)
    try:
        submitted_at = parse_time(found[1].decode()) if found else published_at
    except ValueError:
        submitted_at = published_at
    # The message begins with three fields of its own; what follows them is the payload.
    payload = b"{" + head[found.end() :] if found else head
    due = None if PUT_OFF in attributes else attributes.get(NOT_BEFORE)
    links = _links(data)
    return Entry(
        task_id=attributes["task_id"],
        task_type=attributes["task_type"],
        queue=attributes["queue"],
        status=str(Status.QUEUED if due is None or parse_time(due) <= published_at else Status.SCHEDULED),
        submitted=micros(submitted_at),
        updated=micros(submitted_at),
        due=None if due is None else micros(parse_time(due)),
        started=None,
        last_started=None,
        ended=None,
        attempts=0,
        reason="",
        text=_text(payload.decode(errors="ignore")[:EXCERPT]),
        recorded=0,
        parent=links.get("parent_id"),
        trigger=links.get("trigger"),
        schedule=links.get("schedule"),
    )


def is_renewal(record: TaskRecord) -> bool:
    """Whether a write of a record only renewed a lease or reported progress, of which the index holds nothing."""
    return record.status is Status.RUNNING and record.updated_at != record.attempts[-1].started_at


def excerpt(value: object, *, limit: int = EXCERPT) -> str:
    """Return the beginning of a value as JSON; of a large one only that is encoded."""
    parts, size = [], 0
    for part in _encoder.iterencode(value):
        parts.append(part)
        size += len(part)
        if size >= limit:
            break
    return "".join(parts)[:limit]


def to_line(entry: Entry) -> bytes:
    """The line of a segment, without the fields at its end that are None."""
    length = len(entry)
    while entry[length - 1] is None:
        length -= 1
    return json.dumps(entry[:length], ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def from_lines(data: bytes) -> Iterator[Entry]:
    """The entries of a segment; what is none is left out.

    Versions add fields at the end of a line: an older one may lack the last fields, a later one may have more.
    """
    for line in data.splitlines():
        try:
            values = json.loads(line)
            yield Entry(*islice(values, len(Entry._fields)))
        except (ValueError, TypeError):
            continue


def micros(at: datetime) -> int:
    """A time as microseconds since 1970."""
    span = at - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def moment(at: int) -> datetime:
    """The time of microseconds since 1970."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)


def searchable(text: str) -> str:
    """A text in the form in which texts are compared."""
    return text.casefold()


def _links(data: bytes) -> dict[str, str]:
    """The texts among the links of a message, if these are short."""
    _, found, encoded = data[-_TAIL_BYTES:].rpartition(_LINKS)
    if not found:
        return {}
    try:
        links = json.loads(encoded[:-1])  # without the message's own closing brace
    except ValueError:
        return {}  # a name within the payload
    return {name: value for name, value in links.items() if isinstance(value, str)} if isinstance(links, dict) else {}


def _text(*parts: Any) -> str:
    return searchable("\n".join(part for part in parts if part))
