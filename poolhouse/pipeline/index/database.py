"""The tasks of the index in SQLite, in a file of this process's own that nothing else sees.

One index covers all that listings filter by, so a filter or a count reads some megabytes in order, whatever it asks. A
search for text reads the texts: with SQLite's trigram index it would take a tenth of the time, but to load 100,000
tasks took 30 s instead of 1.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from poolhouse.pipeline.index.entry import Entry, micros, searchable
from poolhouse.pipeline.tasks import task_ids

_SCHEMA = """
CREATE TABLE tasks(
    task_id TEXT PRIMARY KEY, task_type TEXT, queue TEXT, status TEXT, submitted INT, updated INT, due INT,
    started INT, last_started INT, ended INT, attempts INT, reason TEXT, text TEXT, recorded INT, parent TEXT,
    trigger TEXT, schedule TEXT, checked INT DEFAULT 0
);
CREATE INDEX listing ON tasks(submitted DESC, task_id, status, task_type, queue, updated, recorded);
CREATE INDEX endings ON tasks(ended, task_type, queue, status, submitted, due, started, last_started)
    WHERE ended IS NOT NULL;
CREATE INDEX children ON tasks(parent, submitted DESC, task_id, status) WHERE parent IS NOT NULL;
CREATE INDEX triggered ON tasks(trigger, submitted DESC, task_id, status) WHERE trigger IS NOT NULL;
CREATE INDEX scheduled ON tasks(schedule, submitted DESC, task_id, status) WHERE schedule IS NOT NULL;
CREATE INDEX delayed ON tasks(due, task_id) WHERE status = 'scheduled';
CREATE INDEX unfinished ON tasks(queue, status, checked, updated) WHERE ended IS NULL;
"""
# Of two of the same time the one with the lower id: ids are made so that newer ones come first.
_NEWEST = "ORDER BY submitted DESC, task_id"
_DUE = "ORDER BY due, task_id"
_COLUMNS = ", ".join(Entry._fields)
# What comes from a record beats what comes from a message.
_CORRECT = f"""
INSERT INTO tasks({_COLUMNS}) VALUES ({", ".join("?" * len(Entry._fields))})
ON CONFLICT(task_id) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in Entry._fields if name not in {"task_id", "due"})},
    due = coalesce(excluded.due, due)
WHERE excluded.recorded"""  # noqa: S608 - names of columns alone
# Of two records the newer one.
_UPSERT = f"{_CORRECT} AND (excluded.updated >= tasks.updated OR NOT tasks.recorded)"


@dataclass(frozen=True, kw_only=True)
class TaskQuery:
    """Which tasks are meant; what is None or empty does not matter."""

    statuses: frozenset[str] = frozenset()
    task_type: str | None = None
    queue: str | None = None
    #: The task that submitted it, or whose end it follows.
    parent: str | None = None
    #: The trigger or the schedule that submitted it.
    trigger: str | None = None
    schedule: str | None = None
    #: Of which group they are members.
    group: str | None = None
    submitted_after: datetime | None = None
    submitted_before: datetime | None = None
    changed_after: datetime | None = None
    id_prefix: str | None = None
    #: Part of the beginning of payload, error or result, in any case.
    text: str | None = None
    #: Only those that have a record.
    recorded: bool = False

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its values."""
        terms: list[tuple[str, Sequence[Any]]] = []
        if self.statuses:
            terms.append((f"status IN ({', '.join('?' * len(self.statuses))})", sorted(self.statuses)))
        for name in ("task_type", "queue", "parent", "trigger", "schedule"):
            if (value := getattr(self, name)) is not None:
                terms.append((f"{name} = ?", (value,)))
        if self.submitted_after is not None:
            terms.append(("submitted >= ?", (micros(self.submitted_after),)))
        if self.submitted_before is not None:
            terms.append(("submitted < ?", (micros(self.submitted_before),)))
        if self.changed_after is not None:
            terms.append(("updated > ?", (micros(self.changed_after),)))
        if self.id_prefix:
            terms.append(("task_id >= ? AND task_id < ?", (self.id_prefix, self.id_prefix + "\U0010ffff")))
        if self.group is not None:
            terms.append(("task_id >= ? AND task_id < ?", task_ids.members_between(self.group)))
        if self.text:
            terms.append(("instr(text, ?)", (searchable(self.text),)))
        if self.recorded:
            terms.append(("recorded", ()))
        condition = " AND ".join(term for term, _ in terms) or "1"
        return condition, [value for _, values in terms for value in values]


class Database:
    """The tasks. Thread-safe: one call at a time."""

    def __init__(self) -> None:
        """Begin empty, in a temporary file that is gone with the process."""
        self._lock = threading.RLock()
        self._connection = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._connection.close)  # an index is dropped, not closed: Python 3.13 warns of that
        self._connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -64000;" + _SCHEMA
        )

    def apply(self, found: Iterable[Entry]) -> None:
        """Take entries in; those that are older than what is known change nothing."""
        self._write(_UPSERT, found)

    def correct(self, found: Iterable[Entry]) -> None:
        """Take in the entries of records that were just read: they are right, whatever is known."""
        self._write(_CORRECT, found)

    def remove_ended(self, *, before: int) -> None:
        """Forget ended tasks whose records were last written before a time."""
        self.execute("DELETE FROM tasks WHERE ended IS NOT NULL AND updated < ?", (before,))

    def remove(self, task_ids: Iterable[str]) -> None:
        """Forget tasks."""
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM tasks WHERE task_id = ?", ((each,) for each in task_ids))
            self._connection.execute("COMMIT")

    def page(self, query: TaskQuery, *, size: int, after: tuple[int, str] | None, by_due: bool = False) -> list[Entry]:
        """Return tasks, the newest first.

        Args:
            query: which ones.
            size: the most.
            after: submit time (by due time: that) and id of the last one of the page before.
            by_due: only scheduled tasks, the one that is due next first.
        """
        condition, values = query.where()
        column, before, order = ("due", ">", _DUE) if by_due else ("submitted", "<", _NEWEST)
        if by_due:
            condition = f"status = 'scheduled' AND due IS NOT NULL AND {condition}"
        if after is not None:
            at, task_id = after
            condition = f"{column} {before}= ? AND ({column} {before} ? OR task_id > ?) AND {condition}"
            values = [at, at, task_id, *values]
        # Inside, the covering index alone is read; the rows of the page are looked up outside.
        return self._entries(
            f"SELECT {_COLUMNS} FROM tasks WHERE rowid IN (SELECT rowid FROM tasks WHERE {condition}"  # noqa: S608
            f" {order} LIMIT ?) {order}",
            (*values, size),
        )

    def oldest(self, query: TaskQuery, *, size: int) -> list[str]:
        """Return the ids of the tasks that were submitted first."""
        condition, values = query.where()
        statement = f"SELECT task_id FROM tasks WHERE {condition} ORDER BY submitted LIMIT ?"  # noqa: S608
        return [task_id for (task_id,) in self.rows(statement, (*values, size))]

    def counts(self, query: TaskQuery) -> dict[str, int]:
        """Return how many tasks are meant, by status."""
        condition, values = query.where()
        return dict(self.rows(f"SELECT status, count(*) FROM tasks WHERE {condition} GROUP BY status", values))  # noqa: S608

    def unchecked(self, *, updated_before: int, checked_before: int, limit: int) -> list[tuple[str, int]]:
        """Unfinished tasks, and when each last changed, that nothing was heard of since a time: the longest first."""
        return self.rows(
            "SELECT task_id, updated FROM tasks WHERE ended IS NULL AND checked < ? AND updated < ?"
            " ORDER BY checked, updated LIMIT ?",
            (checked_before, updated_before, limit),
        )

    def check(self, task_ids: Iterable[str], *, at: int) -> None:
        """Note when tasks were looked up."""
        with self._lock:
            self._connection.executemany(
                "UPDATE tasks SET checked = ? WHERE task_id = ?", ((at, each) for each in task_ids)
            )

    def statuses(self, task_ids: Sequence[str]) -> dict[str, str]:
        """The statuses of those of some tasks that are known by their records."""
        marks = ", ".join("?" * len(task_ids))
        found = self.rows(f"SELECT task_id, status FROM tasks WHERE recorded AND task_id IN ({marks})", task_ids)  # noqa: S608
        return dict(found)

    def all(self) -> Iterator[Entry]:
        """Every task, in pages: others may write in between."""
        last = ""
        while True:
            page = self._entries(f"SELECT {_COLUMNS} FROM tasks WHERE task_id > ? ORDER BY task_id LIMIT 2000", (last,))  # noqa: S608
            yield from page
            if not page:
                return
            last = page[-1].task_id

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement selects."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Change rows; returns how many."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._connection.close()

    def _write(self, statement: str, found: Iterable[Entry]) -> None:
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.executemany(statement, found)
            self._connection.execute("COMMIT")

    def _entries(self, statement: str, values: Sequence[Any]) -> list[Entry]:
        return [Entry(*row) for row in self.rows(statement, values)]
