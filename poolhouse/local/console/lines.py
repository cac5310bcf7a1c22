"""Log lines as pages show them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from poolhouse.local import logs
from poolhouse.local.backend import Backend
from poolhouse.local.errors import StackError
from poolhouse.local.logs import Entry

#: Lines of each file that are looked through for what is asked for.
_LOOKED_THROUGH = 2000
#: Lines of one task that are shown, and bytes at the end of each file that are searched for them.
_OF_TASK, _SEARCHED_BYTES = 200, 4 * 1024**2
_TIMEOUT_S = 15.0
#: Severities from the mildest on; what is not among them is shown as it is.
SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of an instance's log."""

    instance: str
    #: What distinguishes it from every other line that may be shown with it.
    key: str
    text: str
    #: None where it is no JSON log line.
    entry: Entry | None


def instances(backend: Backend) -> list[str]:
    """Who has log lines."""
    files = backend.log_files()
    return sorted(files) if files is not None else [status.instance for status in backend.status()]


def last(backend: Backend, instance: str | None, *, severity: str, words: str, most: int) -> list[Line]:
    """The last lines of an instance that are severe enough and have some words in them.

    Args:
        backend: of the stack.
        instance: its name, or a service's for all of its instances; None: all.
        severity: the mildest that counts; empty: all. Lines without one, such as those of a traceback, always do.
        words: in any case; empty: whatever they say.
        most: how many.

    Raises:
        StackError: the engine does not give its logs.
    """
    files = backend.log_files()
    count = _LOOKED_THROUGH if words or severity else most
    found = (
        logs.last(logs.chosen(files, instance), count)
        if files is not None
        else logs.by_time(_from_engine(backend, instance, count))
    )
    wanted = words.lower()
    worded = [(name, text) for name, text in found if wanted in text.lower()]
    # From the end: what is not shown need not be read.
    severe = (line for line in _lines(reversed(worded)) if not severity or _severe(line, severity))
    return list(islice(severe, most))[::-1]


def of_task(files: Mapping[str, Path], task_id: str) -> list[Line]:
    """The last lines that name a task, without those of calls that only looked at it."""
    found = logs.naming(files, task_id, searched_bytes=_SEARCHED_BYTES)
    return [line for line in _lines(found) if not _is_look(line)][-_OF_TASK:]


def _is_look(line: Line) -> bool:
    entry = line.entry
    return entry is not None and entry.message == "request" and "method=GET" in entry.fields


def _lines(found: Iterable[tuple[str, str]]) -> Iterator[Line]:
    seen: dict[str, int] = {}
    for name, text in found:
        # Lines that are the same to the letter come in their order.
        base = f"{name} {hash(text)}"
        seen[base] = seen.get(base, 0) + 1
        yield Line(instance=name, key=f"{base} {seen[base]}", text=text, entry=logs.entry(text))


def _severe(line: Line, least: str) -> bool:
    severity = line.entry.severity if line.entry is not None else ""
    return severity not in SEVERITIES or SEVERITIES.index(severity) >= SEVERITIES.index(least)


def _from_engine(backend: Backend, instance: str | None, count: int) -> Iterator[tuple[str, str]]:
    """What the container engine keeps."""
    command = backend.log_command(instance, follow=False, lines=count)
    if command is None:
        return
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"the container engine does not give its logs: {error}") from None
    if done.returncode:
        raise StackError(f"the container engine does not give its logs: {done.stderr.strip()[:500]}")
    yield from logs.of_containers(done.stdout.splitlines(), instance)
