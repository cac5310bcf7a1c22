"""A task's events: the stream parsed, and the rule by which a stream that breaks off is opened again. No I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from poolhouse.client.answers import Document
from poolhouse.client.errors import ApiError, ResultTimeout, TaskFailed
from poolhouse.pipeline.tasks.records import Status

#: Longest silence of an event stream, in seconds: the API sends a comment every 15.
SILENCE_S = 45.0
#: Times in a row that a stream is opened in vain, each after a second more, before that is an error.
TRIES = 4
#: How much longer than asked for a wait may take, in seconds, where events come in until its end.
OVERSHOOT_S = 1.0
#: The shortest look at a task, in seconds, however short the wait for it is.
_SHORTEST_S = 0.25
#: A task in one of these will not change by itself.
FINAL = frozenset(str(status) for status in Status if status.final)


@dataclass(frozen=True)
class Event:
    """A server-sent event: `status` or `progress`, and its data."""

    name: str
    data: Document


class Following:
    """The events of one task over as many streams as it takes."""

    def __init__(self) -> None:
        self._ended = False
        self._last_id = ""
        self._failures = 0
        self._buffer = b""
        self._fields: dict[str, str] = {}

    def ended(self) -> bool:
        """Whether the task has ended."""
        return self._ended

    def headers(self) -> dict[str, str]:
        """Return the headers of the call that opens the next stream."""
        self._buffer, self._fields = b"", {}
        return {"Accept": "text/event-stream", **({"Last-Event-ID": self._last_id} if self._last_id else {})}

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are complete. WHATWG HTML, Interpreting an event stream; only what the API sends."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            text = line.decode(errors="replace")
            if text:
                name, _, value = text.partition(":")
                self._fields[name] = value.removeprefix(" ")
                continue
            fields, self._fields = self._fields, {}
            if "data" not in fields:
                continue
            event = Event(fields.get("event", "message"), json.loads(fields["data"]))
            self._last_id, self._failures = fields.get("id") or self._last_id, 0
            self._ended = event.data.get("status") in FINAL
            yield event
            if self._ended:
                return

    def lost(self, error: ApiError) -> float:
        """Return the seconds to wait before the next stream is opened.

        Raises:
            ApiError: the error itself, where another try can't help or there were enough of them.
        """
        if error.status not in {0, 503}:
            raise error
        self._failures += 1
        if self._failures > TRIES:
            raise error
        return self._failures


class Wait:
    """A wait for a task: for some time, or until it ends."""

    def __init__(self, timeout_s: float | None) -> None:
        """Args: timeout_s: how long, in seconds; None: until it ends."""
        self._end_s = None if timeout_s is None else time.monotonic() + max(timeout_s, _SHORTEST_S)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.left_s is not None and self.left_s <= 0

    @property
    def left_s(self) -> float | None:
        """What is left of it, in seconds; None: it has no end."""
        return None if self._end_s is None else self._end_s - time.monotonic()

    def silence_s(self) -> float:
        """Return the longest silence of a stream that is opened now, in seconds."""
        left_s = self.left_s
        return SILENCE_S if left_s is None else max(0.001, min(SILENCE_S, left_s))


def succeeded(task_id: str, data: Document, *, timeout_s: float | None) -> Document:
    """Return the data of a task's last event if it tells of success.

    Raises:
        ResultTimeout: the task has not ended.
        TaskFailed: it has ended otherwise.
    """
    status = data.get("status", "not known")
    if status not in FINAL:
        raise ResultTimeout(f"task {task_id} is {status} after {timeout_s or 0:g} s; it goes on")
    if status != Status.SUCCEEDED:
        raise TaskFailed(task_id, status, data.get("reason"))
    return data
