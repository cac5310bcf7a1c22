"""What this process changed, written down for the index: at most one small object every few seconds.

Whatever writes a record through a bucket made by `journalled` is noted, and so is what a publisher tells `submitted`.
Notes gather in memory, several of one task as one; a process that is killed loses those of the last seconds, which the
index finds again by itself (`poolhouse.pipeline.index.task_index`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.index import entry as entries
from poolhouse.pipeline.index import segments
from poolhouse.pipeline.index.entry import Entry
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.records import TaskRecord

#: A segment is written again until its minute is over or it has this size, in bytes; then another one begins.
SEGMENT_BYTES = 256 * 1024
#: Tasks noted that are written down at once.
MOST_PENDING = 500
#: Bytes kept while storage does not answer; more is lost, and found again by a rebuild.
MOST_KEPT_BYTES = 4 * 1024 * 1024

_Note = TaskRecord | tuple[bytes, Mapping[str, str], datetime]
_LOST = "the index lost changes of tasks: ./invoke index rebuild finds them"
_log = structlog.get_logger(__name__)


class Journal:
    """The notes of one process. Thread-safe."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        flush_s: float,
        unrecorded: frozenset[str] = frozenset(),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Start no thread before the first note.

        Args:
            store: the bucket.
            flush_s: the least time between two writes, in seconds.
            unrecorded: task types that keep no record: they are not listed, so a submit of one is no note.
            now: the machine's time, for the names of segments.
        """
        self._store = store
        self._flush_s = flush_s
        self._unrecorded = unrecorded
        self._now = now
        self._process = segments.process_name()
        self._pending: dict[str, _Note] = {}
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._name, self._minute, self._number = "", "", 0
        self._content = bytearray()
        #: Whether the last write of the segment failed.
        self._unwritten = False

    def note(self, record: TaskRecord) -> None:
        """Note a record that was just written."""
        if not entries.is_renewal(record):
            self._add(record.task_id, record)

    def submitted(self, data: bytes, attributes: Mapping[str, str]) -> None:
        """Note a task that was just published."""
        if not attributes.keys() >= {"task_id", "task_type", "queue"} or attributes["task_type"] in self._unrecorded:
            return  # published by hand, and given back; or not listed
        task_id = attributes["task_id"]
        with self._changed:
            known = task_id in self._pending  # by its record, which says more
        if not known:
            self._add(task_id, (data, attributes, self._now()))

    def pending(self) -> list[Entry]:
        """What is noted and not written yet."""
        with self._changed:
            notes = list(self._pending.values())
        return self._entries(notes)

    def flush(self) -> None:
        """Write down what is noted; keep it for the next time where storage does not answer."""
        with self._writing:
            with self._changed:
                notes, self._pending = self._pending, {}
            lines = [entries.to_line(entry) for entry in self._entries(notes.values())]
            if not lines and not self._unwritten:
                return
            self._turn_over()
            for line in lines:
                self._content += line
            self._unwritten = True
            try:
                self._store.put(self._name, bytes(self._content), content_type="application/x-ndjson")
                self._unwritten = False
            except PoolhouseError as error:
                _log.warning("the index waits for storage", error=str(error))

    def close(self, *, timeout_s: float | None = None) -> None:
        """Write down what is left, and end; what storage does not take within `timeout_s` seconds is left out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is None:
            return  # nothing was ever noted
        self._thread.join(timeout_s)
        if self._thread.is_alive() or self._unwritten:
            _log.warning(_LOST)

    def _add(self, task_id: str, note: _Note) -> None:
        with self._changed:
            self._pending.pop(task_id, None)  # the newest note comes last
            self._pending[task_id] = note
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="index journal", daemon=True)
                self._thread.start()
            if len(self._pending) in {1, MOST_PENDING}:
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._unwritten or self._closed)
                self._changed.wait_for(
                    lambda: len(self._pending) >= MOST_PENDING or self._closed, timeout=self._flush_s
                )
                closed = self._closed
            try:
                self.flush()
            except Exception:  # noqa: BLE001 - whatever it is, the next changes must be written
                _log.exception("the index could not be written")
            if closed:
                return

    def _entries(self, notes: Iterable[_Note]) -> list[Entry]:
        found = []
        for note in notes:
            try:
                entry = entries.of_record(note) if isinstance(note, TaskRecord) else entries.of_message(*note)
            except Exception:  # noqa: BLE001 - one note that can't be read must not keep all others
                _log.exception("the index leaves out a task")
            else:
                found.append(entry)
        return found

    def _turn_over(self) -> None:
        """Begin another segment where there is none of this minute, or it is large."""
        minute = segments.since(self._now())
        if minute == self._minute and len(self._content) < SEGMENT_BYTES:
            return
        if len(self._content) > MOST_KEPT_BYTES:
            _log.warning(_LOST)
            self._unwritten = False
        if not self._unwritten:
            self._content.clear()
        self._number = self._number + 1 if minute == self._minute else 0
        self._minute, self._name = minute, segments.segment(self._now(), self._process, self._number)


class _JournalledStore:
    """A bucket, and the journal of what is written to it."""

    def __init__(self, store: ObjectStore, journal: Journal) -> None:
        self._store = store
        self.journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def journalled(store: ObjectStore, journal: Journal) -> ObjectStore:
    """Return the same bucket, through which every record that is written is noted."""
    return cast(ObjectStore, _JournalledStore(store, journal))


def note_written(store: ObjectStore, record: TaskRecord) -> None:
    """Note a record that was written to a bucket, if that has a journal."""
    if isinstance(store, _JournalledStore):
        store.journal.note(record)
