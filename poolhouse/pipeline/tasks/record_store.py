"""Records in the bucket, with what a listing filters by also as object metadata.

A record is kept in two objects that take turns, and a third that a submit call may write: which of them is the truth,
and why there are several, is in `poolhouse.pipeline.tasks.record_version`.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound, PreconditionFailed, RecordUnreadable
from poolhouse.pipeline.index.journal import note_written
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks.record_version import Mark, Version, metadata_of, version_of
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.scan import entries

#: Metadata of the record of a task whose dead letter was discarded.
_DISCARDED = "discarded"
#: Objects asked for in a list call of all tasks: some 30 MB of JSON, where the server has so many.
_LISTED_AT_ONCE = 30_000
#: Numbers the writes of this process: with the writer's token, which no other process has, a mark of one write.
_writes = itertools.count()


@dataclass(frozen=True, kw_only=True)
class RecordSummary:
    """The summary of a task in a listing, without reading its record."""

    task_id: str
    task_type: str
    queue: str
    status: Status
    submitted_at: str
    updated_at: str
    #: When a scheduled task is due.
    not_before: str | None = None
    #: Whether it failed and its dead letter was discarded.
    discarded: bool = False


@dataclass(frozen=True)
class Stored:
    """A record and what the next write of it is conditional on."""

    record: TaskRecord
    #: The number of its `Version`: another one means that the record was written since.
    generation: int


@dataclass(frozen=True)
class _Found:
    """One of a task's objects."""

    name: str
    mark: Mark
    #: None where it is not a record of this version.
    record: TaskRecord | None
    problem: str = ""

    def as_truth(self, version: Version, *, cancel_requested_at: datetime | None = None) -> Stored:
        """What it says, as the task's record."""
        if self.record is None:
            raise RecordUnreadable(
                f"{self.name} is not a record of this version ({self.problem})", generation=version.number
            )
        if cancel_requested_at is None or self.record.status.final:
            return Stored(self.record, version.number)
        return Stored(self.record.model_copy(update={"cancel_requested_at": cancel_requested_at}), version.number)


class RecordStore:
    """Reads and writes records. Every call may raise `StoreUnavailable`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, task_id: str) -> Stored | None:
        """Return the record; None if there is none yet. One call for a task that has succeeded, two for most others.

        Raises:
            RecordUnreadable: the object is not a record of this version.
        """
        record = self._read(names.record(task_id))
        if record is not None and record.mark.status is Status.SUCCEEDED:
            return record.as_truth(version_of(record.mark, None))
        claim = self._read(names.claim(task_id))
        submitted = None if record or claim else self._read(names.submitted(task_id))
        version = version_of(*(found.mark if found else None for found in (record, claim, submitted)))
        if claim is not None and version.step == claim.mark.step:
            return claim.as_truth(version)
        if record is None or claim is None:
            truth = record or submitted
            return None if truth is None else truth.as_truth(version)
        # A call that cancels a running task may write to the claim of an attempt that has just ended: it counts.
        asked_at = claim.record.cancel_requested_at if claim.record is not None else None
        return record.as_truth(version, cancel_requested_at=asked_at if claim.mark.step + 1 == version.step else None)

    def generation(self, task_id: str) -> int:
        """The generation of the record as it is now; `ABSENT` if there is none. Cheaper than reading it."""
        record = self._mark(names.record(task_id))
        if record is not None and record.status is Status.SUCCEEDED:
            return version_of(record, None).number
        claim = self._mark(names.claim(task_id))
        submitted = None if record or claim else self._mark(names.submitted(task_id))
        return version_of(record, claim, submitted).number

    def submit(self, record: TaskRecord) -> None:
        """Write the record of a task that no worker has met yet, beside what a worker may write at the same time.

        Raises:
            PreconditionFailed: it has been written before.
        """
        token = f"{secrets.token_hex(8)}.{next(_writes)}"
        self._put(names.submitted(record.task_id), record.model_copy(update={"write_token": token}), ABSENT)
        note_written(self._store, record)

    def summary(self, task_id: str) -> RecordSummary | None:
        """The record's summary; None until a worker or a call has met the task.

        One call for a task that has succeeded, two for others, none of which reads a record.
        """
        found = []
        for name in (names.record(task_id), names.claim(task_id)):
            with contextlib.suppress(ObjectNotFound):
                found.append(self._store.stat(name))
                if Mark.on(found[0]).status is Status.SUCCEEDED:
                    break
        return _summary(found) if found else None

    def write(self, record: TaskRecord, *, if_generation: int, writer: str = "") -> Stored:
        """Write the record if `if_generation` is still current (`ABSENT`: if there is none).

        A lease that was renewed, or a cancel call, does not keep the attempt in hand from ending; `read` finds the call
        all the same. So a change of a running task by another than its worker looks whether it came too late: a call
        more.

        Args:
            writer: a token of who writes, for `written_by`; unknown to all others.

        Raises:
            PreconditionFailed: another wrote first. One's own write whose answer was lost is told apart and returned.
            StoreUnavailable: storage did not answer in time; the write may have taken effect all the same, and if it
                is tried again, `written_by` tells.
        """
        stored = self._write(record, if_generation=if_generation, writer=writer)
        note_written(self._store, stored.record)
        return stored

    def _write(self, record: TaskRecord, *, if_generation: int, writer: str) -> Stored:
        before = Version.of(if_generation)
        token = f"{writer or secrets.token_hex(8)}.{next(_writes)}"
        running = record.status is Status.RUNNING
        if before.running and not running:
            version = before._replace(step=before.step + 1, running=False)
            record = record.model_copy(update={"write_token": token, "step": version.step, "follows": ABSENT})
            generation = self._put(names.record(record.task_id), record, before.record)
            version = version._replace(record=generation)
            if record.status is Status.SUCCEEDED:
                version = version_of(Mark(generation, record.status, record.step), None)
        else:
            # The lease and the progress of an attempt in hand, and a call to cancel it, are no steps.
            version = before._replace(step=before.step + (not before.running), running=running)
            record = record.model_copy(update={"write_token": token, "step": version.step, "follows": before.record})
            generation = self._put(names.claim(record.task_id), record, before.claim)
            version = version._replace(claim=generation, submitted=ABSENT)
            if before.running and not writer and self._ended(record.task_id, before):
                raise PreconditionFailed(f"task {record.task_id}: its attempt ended first")
        return Stored(record, version.number)

    def _ended(self, task_id: str, before: Version) -> bool:
        """Whether the attempt that was in hand has ended."""
        record = self._mark(names.record(task_id))
        return record is not None and record.generation != before.record

    def _put(self, name: str, record: TaskRecord, if_generation: int) -> int:
        """Write one object; returns its generation. One's own write whose answer was lost is told apart."""
        try:
            return self._store.put(
                name,
                record.model_dump_json(exclude_defaults=True).encode(),
                metadata=_metadata(record),
                if_generation=if_generation,
            )
        except PreconditionFailed:
            found = self._read(name)
            if found is None or found.record is None or found.record.write_token != record.write_token:
                raise
            return found.mark.generation

    def _read(self, name: str) -> _Found | None:
        try:
            data, info = self._store.get(name)
        except ObjectNotFound:
            return None
        try:
            record = TaskRecord.model_validate_json(data)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the object"
            # What a listing sees of it is all that is known of its place among the task's objects.
            mark = self._mark(name) or Mark(info.generation, Status.QUEUED)
            return _Found(name, mark, None, f"{where}: {problem['msg']}")
        return _Found(name, Mark(info.generation, record.status, record.step, record.follows), record)

    def _mark(self, name: str) -> Mark | None:
        try:
            return Mark.on(self._store.stat(name))
        except ObjectNotFound:
            return None

    def summaries(self, *, id_prefix: str = "", timeout_s: float | None = None) -> Iterator[RecordSummary]:
        """Yield all tasks that have a record, the newest first: a list call for each 1,000 objects.

        The local storage server opens every object below the prefix, for each call. So it is asked for many at once,
        and no call begins where another one did.

        Args:
            id_prefix: only tasks whose ids begin so.
            timeout_s: the longest that a list call may take; None: as long as any other.
        """
        found = entries(
            self._store,
            f"{names.TASKS}{id_prefix}",
            at_once=_LISTED_AT_ONCE,
            entry_of=_entry_of,
            timeout_s=timeout_s,
        )
        for name, objects in found:
            if names.recorded_task(name).startswith(id_prefix):  # an id may end where an object's name goes on
                yield _summary(tuple(objects))


def written_by(record: TaskRecord, writer: str) -> bool:
    """Whether the last write of the record was this writer's."""
    return record.write_token.startswith(f"{writer}.")


def _entry_of(name: str) -> str:
    """The first name among the objects of a task."""
    return names.record(names.recorded_task(name))


def _summary(infos: Iterable[ObjectInfo]) -> RecordSummary:
    info = _truth({info.name: info for info in infos})
    return RecordSummary(
        task_id=names.recorded_task(info.name),
        task_type=info.metadata.get("task_type", ""),
        queue=info.metadata.get("queue", ""),
        status=Status(info.metadata.get("status", Status.QUEUED)),
        submitted_at=info.metadata.get("submitted_at", ""),
        updated_at=info.updated_at.isoformat() if info.updated_at else "",
        not_before=info.metadata.get("not_before"),
        discarded=_DISCARDED in info.metadata,
    )


def _truth(objects: Mapping[str, ObjectInfo]) -> ObjectInfo:
    """The one of a task's objects that is the truth."""
    any_of_them = next(iter(objects.values()))
    task_id = names.recorded_task(any_of_them.name)
    record, claim = objects.get(names.record(task_id)), objects.get(names.claim(task_id))
    if record is None or claim is None:
        return record or claim or any_of_them
    step = version_of(Mark.on(record), Mark.on(claim)).step
    return record if step == Mark.on(record).step else claim


def _metadata(record: TaskRecord) -> dict[str, str]:
    return {
        "status": record.status,
        "task_type": record.task_type,
        "queue": record.queue,
        "submitted_at": record.submitted_at.isoformat(),
        **({"not_before": record.not_before.isoformat()} if record.not_before is not None else {}),
        **({_DISCARDED: "true"} if record.discarded_at is not None else {}),
        **metadata_of(record.step, record.follows),
    }
