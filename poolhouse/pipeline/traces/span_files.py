"""The files of one folder that all processes of a local stack append their spans to: a current one and the one before.

Together they never take more than `MOST_BYTES`: a full file takes the place of the older one.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from poolhouse.pipeline.traces.spans import LONGEST_LINE, InvalidSpan, Span

#: Bytes of both files together.
MOST_BYTES = 32 * 1024**2
#: Spans of one trace that are read, the newest ones; and traces of one task.
MOST_SPANS, MOST_TRACES = 5000, 5
_CURRENT, _BEFORE, _LOCK = "spans.jsonl", "spans.before.jsonl", "lock"


class SpanFiles:
    """The spans in a folder. Several processes may append while others read."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Touch nothing yet.

        Args:
            folder: made at the first append.
            most_bytes: of both files together.
        """
        self._folder = folder
        self._most_bytes = most_bytes

    @property
    def exist(self) -> bool:
        """Whether spans have been recorded here."""
        return (self._folder / _CURRENT).exists()

    def append(self, spans: Iterable[Span]) -> None:
        """Add spans, in one write. Raises `OSError`."""
        lines = [line for line in (span.line() for span in spans) if len(line) <= LONGEST_LINE]
        with self._locked():
            current = self._folder / _CURRENT
            for data in self._portions(lines):
                if current.exists() and current.stat().st_size + len(data) > self._most_bytes // 2:
                    current.replace(self._folder / _BEFORE)
                with current.open("ab", buffering=0) as file:
                    file.write(data)

    def of_task(self, task_id: str) -> list[Span]:
        """The spans of the traces that a task belongs to, by start; empty where there are none."""
        own = self._spans(_json_text(task_id))
        traces = dict.fromkeys(span.trace_id for span in reversed(own) if span.task_id == task_id)
        found: dict[str, Span] = {}
        for trace_id in list(traces)[:MOST_TRACES]:
            for span in self._spans(trace_id.encode()):
                if span.trace_id == trace_id:
                    found.setdefault(span.span_id, span)
        return sorted(found.values(), key=lambda span: (span.start_ns, -span.end_ns))

    def _spans(self, words: bytes) -> list[Span]:
        """The newest spans whose lines have some bytes in them; what is no span is left out."""
        found: list[Span] = []
        for name in (_CURRENT, _BEFORE):
            for line in self._lines_with(self._folder / name, words, most=MOST_SPANS - len(found)):
                try:
                    found.append(Span.parse(line))
                except InvalidSpan:
                    continue
        return found[::-1]

    @staticmethod
    def _lines_with(path: Path, words: bytes, *, most: int) -> Iterator[bytes]:
        """The lines of a file that have some bytes in them, the last one first."""
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                end = data.rfind(b"\n") + 1  # a line that is just being written is none yet
                for _ in range(most):
                    at = data.rfind(words, 0, end)
                    if at < 0:
                        return
                    start = data.rfind(b"\n", 0, at) + 1
                    yield data[start : min(data.find(b"\n", at), start + LONGEST_LINE + 1)]
                    end = start
        except (FileNotFoundError, NotADirectoryError, ValueError):  # there is none, or it is empty
            return

    def _portions(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Lines in as few pieces as fit into a file."""
        portion: list[bytes] = []
        size = 0
        for line in lines:
            if portion and size + len(line) > self._most_bytes // 2:
                yield b"".join(portion)
                portion, size = [], 0
            portion.append(line)
            size += len(line)
        if portion:
            yield b"".join(portion)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _json_text(text: str) -> bytes:
    """A text as a line has it."""
    return json.dumps(text, ensure_ascii=False).encode(errors="replace")
