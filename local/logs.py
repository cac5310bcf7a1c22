"""The logs of a stack for people: many files as one stream, each line with its service in front."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Fields of a line that are shown elsewhere in it, or mean nothing to a person.
_PLAIN = {"time", "severity", "message", "exception", "logger"}
_POLL_S = 0.1


def render(line: str) -> str:
    """A JSON log line as `12:00:01 INFO  message  key=value …`; any other line as it is."""
    if not line.startswith("{"):
        return line
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "message" not in entry:
        return line
    at = str(entry.get("time", ""))[11:19]
    fields = "  ".join(f"{key}={_value(value)}" for key, value in entry.items() if key not in _PLAIN)
    text = f"{at:<8} {entry.get('severity', ''):<8}{entry['message']}" + (f"  {fields}" if fields else "")
    return f"{text}\n{entry['exception']}" if entry.get("exception") else text


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if not text or any(character.isspace() for character in text) else text


@dataclass
class _File:
    path: Path
    offset: int = 0
    #: Bytes after the last line's end: a line that is still being written.
    rest: bytes = field(default=b"", repr=False)

    def new_lines(self) -> list[str]:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return []
        if size < self.offset:  # started anew
            self.offset, self.rest = 0, b""
        if size == self.offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = self.rest + file.read(size - self.offset)
        self.offset = size
        *lines, self.rest = data.split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def last(files: Mapping[str, Path], lines: int) -> Iterator[tuple[str, str]]:
    """The last lines of each file as (instance, line), by time where lines tell one."""
    found = []
    for name, path in files.items():
        at = ""
        for line in deque(_File(path).new_lines(), maxlen=lines):
            at = _time(line) or at  # a line without a time belongs to the one before
            found.append((at, name, line))
    for _, name, line in sorted(found, key=lambda entry: entry[0]):
        yield name, line


def follow(
    files: Callable[[], Mapping[str, Path]], *, alive: Callable[[], bool], from_start: bool = False
) -> Iterator[tuple[str, str]]:
    """New lines as (instance, line), as they come, until `alive` says no.

    Args:
        files: the files now; instances come and go.
        alive: asked between two looks.
        from_start: also what is in the files already.
    """
    known: dict[str, _File] = {}
    first = not from_start
    while True:
        going_on = alive()
        for name, path in files().items():
            if name not in known:
                known[name] = _File(path)
                if first:
                    known[name].new_lines()
            for line in known[name].new_lines():
                yield name, line
        first = False
        if not going_on:
            return
        time.sleep(_POLL_S)


def _time(line: str) -> str:
    if line.startswith("{"):
        try:
            return str(json.loads(line).get("time", ""))[:23]
        except ValueError:
            return ""
    return ""
