"""The index as one process reads it: loaded at the first need, brought up to date at each later one.

It is made of the snapshot and of the segments written since; where there is no snapshot, of the records themselves.
What a killed process took with it is found by looking up the records of tasks that have been unfinished for long.
"""

from __future__ import annotations

import gzip
import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from poolhouse.pipeline.errors import ObjectNotFound, RecordUnreadable
from poolhouse.pipeline.index import entry as entries
from poolhouse.pipeline.index import segments
from poolhouse.pipeline.index.database import Database, TaskQuery
from poolhouse.pipeline.index.entry import Entry, micros
from poolhouse.pipeline.index.journal import Journal
from poolhouse.pipeline.names import INDEX
from poolhouse.pipeline.store import ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore

#: Shortest time between two looks for what changed, in seconds.
TAIL_S = 1.0
#: Part of the time that listings of segments may take. An emulator lists a large bucket in a second; until the next
#: listing, the segments that known processes may have written are read by their names.
LISTING_SHARE = 0.05
#: How far back segments are looked at again, in seconds: their minute, and more for clocks that differ.
WINDOW_S = 300.0
#: A process that has not looked for so long begins with the snapshot: older segments may be in it alone.
STALE_S = 1800.0
#: Segments after which a new snapshot is made, and the age from which on its segments are deleted, in seconds.
SNAPSHOT_SEGMENTS, OBSOLETE_S = 200, 2 * STALE_S
#: Unfinished tasks that nothing was heard of for so long are looked up, so often, and so many at a time.
SILENT_S, REPAIR_S, REPAIRS = 120.0, 60.0, 200
#: Most tasks that are looked up because a worker may just have begun them.
LOOKED_UP = 500
#: The longest that a list call may take that goes through all records: the local storage server opens each of them.
LIST_S = 120.0
#: Tasks that are compared with their records at a time.
COMPARED = 10_000
#: Reads at the same time.
THREADS = 16

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What a rebuild did."""

    #: Records in the bucket.
    records: int
    #: Those that the index did not have, or had with another status.
    corrected: int
    #: Tasks of the index that have no record any more.
    removed: int
    seconds: float


class TaskIndex:
    """All tasks of a deployment. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        journal: Journal | None = None,
        longest_wait: timedelta,
        keep: timedelta | None,
        clock: Callable[[], datetime],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read nothing yet.

        Args:
            store: the bucket.
            journal: what this process itself has noted and not written yet.
            longest_wait: the time after which no message of a task is left in any queue.
            keep: the time after which the bucket deletes records; None if it never does.
            clock: the deployment's time, which records have.
            now: the machine's time, which names of segments have.
            monotonic: a clock, in seconds.
        """
        self._store = store
        self._records = RecordStore(store)
        self._journal = journal
        self._longest_wait = longest_wait
        self._keep = keep
        self._clock = clock
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._database: Database | None = None
        #: The segments since some minutes ago, and the generation of each that was read.
        self._seen: dict[str, int] = {}
        self._tailed_at: datetime | None = None
        self._tailed_s = self._repaired_s = -STALE_S
        self._next_listing_s = 0.0
        #: Segments since the last snapshot.
        self._since_snapshot = 0

    def page(
        self, query: TaskQuery, *, size: int, after: tuple[int, str] | None = None, by_due: bool = False
    ) -> list[Entry]:
        """Return tasks, the newest first; arguments as of `Database.page`."""
        return self.current().page(query, size=size, after=after, by_due=by_due)

    def counts(self, query: TaskQuery) -> dict[str, int]:
        """Return how many tasks are meant, by status."""
        return self.current().counts(query)

    def current(self) -> Database:
        """The tasks as they are now: what other processes wrote is a few seconds old at the most."""
        with self._lock:
            database = self._database
            if database is None:
                database = self._load()
            if self._monotonic() - self._tailed_s >= TAIL_S:
                self._tail(database)
                self._repair(database)
                if self._since_snapshot >= SNAPSHOT_SEGMENTS:
                    self._save(database)
            if self._journal is not None:
                database.apply(self._journal.pending())
            return database

    def look_up(self, query: TaskQuery) -> None:
        """Read the records of the oldest tasks that are meant: what others wrote in the last seconds may be unknown."""
        with self._lock, _pool() as pool:
            database = self.current()
            database.correct(self._read(pool, database.oldest(query, size=LOOKED_UP)))

    def rebuild(self) -> Rebuilt:
        """Compare the index with the records, and correct it."""
        with self._lock:
            return self._compare(self.current())

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _load(self) -> Database:
        began_s = self._monotonic()
        database = Database()
        self._seen, self._tailed_at = {}, None
        snapshot = self._read_snapshot(database)
        self._tail(database)
        if not snapshot:  # the bucket is new, or older than its index
            self._compare(database)
        self._database = database
        _log.info(
            "the index is loaded", tasks=sum(database.counts(TaskQuery()).values()), seconds=self._monotonic() - began_s
        )
        return database

    def _read_snapshot(self, database: Database) -> bool:
        """Take the snapshot in, if there is one."""
        try:
            stream = self._store.open_read(segments.SNAPSHOT)
        except ObjectNotFound:
            return False
        with stream, gzip.open(stream) as lines:
            while some := lines.readlines(1 << 20):
                database.apply(entries.from_lines(b"".join(some)))
        self._remove_deleted(database)
        self._since_snapshot = 0
        return True

    def _compare(self, database: Database) -> Rebuilt:
        """Correct what the index has otherwise than the records, and write a snapshot."""
        began_s, began = self._monotonic(), self._clock()
        found: set[str] = set()
        corrected = 0
        with _pool() as pool:
            for statuses in self._statuses():
                found |= statuses.keys()
                known = database.statuses(list(statuses))
                wrong = [task_id for task_id, status in statuses.items() if known.get(task_id) != status]
                corrected += len(wrong)
                database.correct(self._read(pool, wrong))
        removed = self._forget(database, found, before=began)
        self._save(database)
        seconds = self._monotonic() - began_s
        return Rebuilt(records=len(found), corrected=corrected, removed=removed, seconds=round(seconds, 3))

    def _tail(self, database: Database) -> None:
        """Read the segments that are new, or were written again."""
        now = self._now()
        if self._tailed_at is not None and now - self._tailed_at > timedelta(seconds=STALE_S):
            self._read_snapshot(database)
            self._tailed_at = None
        began_s = self._monotonic()
        if self._tailed_at is None or began_s >= self._next_listing_s:
            start = INDEX if self._tailed_at is None else segments.since(now - timedelta(seconds=WINDOW_S))
            listed = {info.name: info.generation for info in self._segments(start)}
            self._next_listing_s = self._monotonic() + (self._monotonic() - began_s) / LISTING_SHARE
            names = [name for name, generation in listed.items() if self._seen.get(name) != generation]
        else:
            listed, names = self._seen, self._expected(now)
        with _pool() as pool:
            for name, found in zip(names, pool.map(self._get, names), strict=True):
                if found is not None:
                    data, generation = found
                    self._since_snapshot += name not in self._seen
                    self._seen[name] = listed[name] = generation
                    database.apply(entries.from_lines(data))
        self._seen, self._tailed_at, self._tailed_s = listed, now, self._monotonic()

    def _expected(self, now: datetime) -> list[str]:
        """The segments that processes which wrote lately may have written since."""
        newest: dict[tuple[str, str], int] = {}
        for name in self._seen:
            process, number = segments.origin(name)
            for minute in (now, now - timedelta(minutes=1)):
                key = (segments.since(minute), process)
                newest[key] = max(newest.get(key, 0), number if name.startswith(key[0]) else 0)
        return [
            f"{minute}-{process}.{each}.jsonl"
            for (minute, process), number in newest.items()
            for each in (number, number + 1)
        ]

    def _segments(self, start: str) -> Iterator[ObjectInfo]:
        token: str | None = None
        while True:
            page = self._store.list(INDEX, start=None if token else start, page_token=token)
            yield from (info for info in page.objects if segments.is_segment(info.name))
            token = page.next_token
            if token is None:
                return

    def _get(self, name: str) -> tuple[bytes, int] | None:
        """A segment and its generation; None if there is none, or another process has put it into a snapshot."""
        try:
            data, info = self._store.get(name)
        except ObjectNotFound:
            return None
        return data, info.generation

    def _repair(self, database: Database) -> None:
        """Look up tasks that have been unfinished for long: perhaps their worker was killed before it wrote."""
        if self._monotonic() - self._repaired_s < REPAIR_S:
            return
        self._repaired_s = self._monotonic()
        now = self._clock()
        checked_before = micros(now - timedelta(seconds=SILENT_S))
        found = database.unchecked(updated_before=checked_before, checked_before=checked_before, limit=REPAIRS)
        if not found:
            return
        with _pool() as pool:
            database.correct(self._read(pool, [task_id for task_id, _ in found]))
        database.check([task_id for task_id, _ in found], at=micros(now))
        database.execute(
            "DELETE FROM tasks WHERE NOT recorded AND ended IS NULL AND coalesce(due, submitted) < ?",
            (micros(now - self._longest_wait),),
        )

    def _save(self, database: Database) -> None:
        """Write a snapshot, and delete the segments that every reader has it for."""
        self._remove_deleted(database)
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as lines:
            for each in database.all():
                lines.write(entries.to_line(each))
        size = packed.tell()
        packed.seek(0)
        # Whichever of two processes writes last: the segments of the last hour are still there for either.
        self._store.upload(segments.SNAPSHOT, packed, content_type="application/gzip", size_bytes=size)
        self._since_snapshot = 0
        until = segments.since(self._now() - timedelta(seconds=OBSOLETE_S))
        old = [info.name for info in self._segments(INDEX) if info.name < until]
        with _pool() as pool:
            list(pool.map(self._store.delete, old))
        _log.info("the index has a new snapshot", size_bytes=size, segments_deleted=len(old))

    def _remove_deleted(self, database: Database) -> None:
        """Forget ended tasks whose records the bucket's lifecycle has deleted."""
        if self._keep is not None:
            database.remove_ended(before=micros(self._clock() - self._keep))

    def _statuses(self) -> Iterator[dict[str, str]]:
        """The status of every task that has a record, some at a time."""
        found = self._records.summaries(timeout_s=LIST_S)
        while some := {each.task_id: str(each.status) for each in islice(found, COMPARED)}:
            yield some

    def _read(self, pool: ThreadPoolExecutor, task_ids: Iterable[str]) -> list[Entry]:
        return [found for found in pool.map(self._entry, task_ids) if found is not None]

    def _entry(self, task_id: str) -> Entry | None:
        try:
            stored = self._records.read(task_id)
        except RecordUnreadable:
            return None
        return None if stored is None else entries.of_record(stored.record)

    def _forget(self, database: Database, found: set[str], *, before: datetime) -> int:
        """Remove tasks whose records are gone; those that changed a moment ago may have been written after the look."""
        until = micros(before - timedelta(seconds=SILENT_S))
        known = database.rows("SELECT task_id FROM tasks WHERE recorded AND updated < ?", (until,))
        gone = [task_id for (task_id,) in known if task_id not in found]
        database.remove(gone)
        return len(gone)


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS, thread_name_prefix="index") as pool:
        yield pool
