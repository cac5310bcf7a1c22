"""The logs of a stack for people: many files as one stream, each line with its service in front."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Fields of a line that are shown elsewhere in it, or mean nothing to a person.
_PLAIN = {"time", "severity", "message", "exception", "logger"}
#: How the names of fields begin that Cloud Logging treats differently.
_GOOGLE = "logging.googleapis.com/"
_POLL_S = 0.1
#: Bytes that are read at a time where the last lines of a file are looked for.
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a JSON log line says."""

    #: ISO 8601; empty where the line has none.
    time: str
    severity: str
    message: str
    #: The other fields, as `key=value`.
    fields: tuple[str, ...]
    #: A traceback; empty where there is none.
    exception: str


def entry(line: str) -> Entry | None:
    """Read a line; None where it is no JSON log line."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or "message" not in found:
        return None
    return Entry(
        time=str(found.get("time", "")),
        severity=str(found.get("severity", "")),
        message=str(found["message"]),
        fields=tuple(
            f"{key.removeprefix(_GOOGLE)}={_value(value)}" for key, value in found.items() if key not in _PLAIN
        ),
        exception=str(found.get("exception") or ""),
    )


def render(line: str) -> str:
    """A JSON log line as `12:00:01 INFO  message  key=value …`; any other line as it is."""
    found = entry(line)
    if found is None:
        return line
    text = "  ".join((f"{found.time[11:19]:<8} {found.severity:<8}{found.message}", *found.fields))
    return f"{text}\n{found.exception}" if found.exception else text


def chosen(files: Mapping[str, Path], service: str | None) -> dict[str, Path]:
    """The files of a service: `worker` means all of its instances, `worker-urgent` those of a queue; None: all."""
    return {
        name: path
        for name, path in files.items()
        if service is None or name == service or name.startswith(f"{service}-")
    }


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
    """The last lines of each file as (instance, line), by time where lines have one."""
    return by_time((name, line) for name, path in files.items() for line in _ending(path, lines))


def naming(files: Mapping[str, Path], words: str, *, searched_bytes: int) -> Iterator[tuple[str, str]]:
    """The lines with some words in them as (instance, line), by time where lines have one.

    Args:
        files: by instance.
        words: to the letter.
        searched_bytes: how much of each file's end is searched.
    """
    return by_time((name, line) for name, path in files.items() for line in _naming(path, words, searched_bytes))


def of_containers(found: Iterable[str], instance: str | None) -> Iterator[tuple[str, str]]:
    """What `docker compose logs` writes, `INSTANCE  | LINE`, as (instance, line).

    Args:
        found: its lines, of all the instances of a service: it knows no others.
        instance: the one that was asked for, as `worker-default-1`; a service, or None: all.
    """
    alone = instance if instance is not None and re.search(r"-\d+$", instance) else None
    for line in found:
        name, bar, text = line.rstrip("\n").partition("|")
        if not bar:
            yield "", line.rstrip("\n")
        elif alone in {None, name.strip()}:
            yield name.strip(), text.removeprefix(" ")


def by_time(found: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Lines as (instance, line) in the order of their times.

    Args:
        found: the lines of one instance after those of another.
    """
    timed = []
    last_name, at = "", ""
    for name, line in found:
        # A line without a time belongs to the one before.
        at = _time(line) or (at if name == last_name else "")
        last_name = name
        timed.append((at, name, line))
    for _, name, line in sorted(timed, key=lambda entry: entry[0]):
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


def _naming(path: Path, words: str, searched_bytes: int) -> Iterator[str]:
    wanted = words.encode()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - searched_bytes))
        data = file.read(searched_bytes)
    at = data.find(wanted)
    while at >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        if end < 0:
            return  # it is still being written
        yield data[start:end].decode(errors="replace")
        at = data.find(wanted, end)


def _ending(path: Path, lines: int) -> list[str]:
    """The last whole lines of a file, read from its end: a log may be large."""
    data = b""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return []
    with file:
        start = file.seek(0, os.SEEK_END)
        while start > 0 and data.count(b"\n") <= lines:
            block_bytes = min(_BLOCK_BYTES, start)
            start -= block_bytes
            file.seek(start)
            data = file.read(block_bytes) + data
    *whole, _ = data.split(b"\n")
    return [line.decode(errors="replace") for line in whole[-lines:]]


def _time(line: str) -> str:
    if line.startswith("{"):
        try:
            return str(json.loads(line).get("time", ""))[:23]
        except ValueError:
            return ""
    return ""
