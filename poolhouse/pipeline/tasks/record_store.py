"""Records in the bucket: `tasks/ID.json`, with what a listing filters by also as object metadata."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass

from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.control.filters import Filter
from poolhouse.pipeline.errors import InvalidName, ObjectNotFound, PreconditionFailed, RecordUnreadable
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.scan import scan

#: Metadata of the record of a task whose dead letter was discarded.
_DISCARDED = "discarded"
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
class RecordPage:
    """One page of summaries, newest task first; `next_token` is None on the last."""

    records: tuple[RecordSummary, ...]
    next_token: str | None


@dataclass(frozen=True)
class Stored:
    """A record and the generation it was read or written at."""

    record: TaskRecord
    generation: int


class RecordStore:
    """Reads and writes records. Every call may raise `StoreUnavailable`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self, task_id: str) -> Stored | None:
        """Return the record; None if there is none yet.

        Raises:
            RecordUnreadable: the object is not a record of this version.
        """
        name = names.record(task_id)
        try:
            data, info = self._store.get(name)
        except ObjectNotFound:
            return None
        try:
            return Stored(TaskRecord.model_validate_json(data), info.generation)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the object"
            raise RecordUnreadable(
                f"{name} is not a record of this version ({where}: {problem['msg']})", generation=info.generation
            ) from None

    def generation(self, task_id: str) -> int:
        """The generation of the record as it is now; `ABSENT` if there is none. Cheaper than reading it."""
        try:
            return self._store.stat(names.record(task_id)).generation
        except ObjectNotFound:
            return ABSENT

    def summary(self, task_id: str) -> RecordSummary | None:
        """The record's summary; None if there is none yet. Cheaper than reading it."""
        try:
            return _summary(self._store.stat(names.record(task_id)))
        except ObjectNotFound:
            return None

    def write(self, record: TaskRecord, *, if_generation: int, writer: str = "") -> Stored:
        """Write the record if `if_generation` is still current (`ABSENT`: if there is none).

        Args:
            writer: a token of who writes, for `written_by`; unknown to all others.

        Raises:
            PreconditionFailed: another wrote first. One's own write whose answer was lost is told apart and returned.
            StoreUnavailable: storage did not answer in time; the write may have taken effect all the same, and if it
                is tried again, `written_by` tells.
        """
        token = f"{writer or secrets.token_hex(8)}.{next(_writes)}"
        record = record.model_copy(update={"write_token": token})
        try:
            generation = self._store.put(
                names.record(record.task_id),
                record.model_dump_json(exclude_defaults=True).encode(),
                metadata=_metadata(record),
                if_generation=if_generation,
            )
        except PreconditionFailed:
            current = self.read(record.task_id)
            if current is None or current.record.write_token != record.write_token:
                raise
            return current
        return Stored(record, generation)

    def page(self, chosen: Filter, *, page_size: int = 100, page_token: str | None = None) -> RecordPage:
        """Return a page of the tasks that have a record and are chosen, the newest first.

        It may be short of `page_size`, even empty, before the last.

        Raises:
            InvalidName: `page_token` is none.
        """

        def read(info: ObjectInfo) -> RecordSummary | None:
            summary = _summary(info)
            meant = chosen.matches(
                queue=summary.queue, task_type=summary.task_type, status=summary.status, at=summary.submitted_at
            )
            return summary if meant else None

        after = None if page_token is None else _name_of(page_token)
        scanned = scan(self._store, names.TASKS, read=read, filtered=not chosen.empty, page_size=page_size, after=after)
        return RecordPage(scanned.found, None if scanned.last is None else _id_of(scanned.last))


def written_by(record: TaskRecord, writer: str) -> bool:
    """Whether the last write of the record was this writer's."""
    return record.write_token.startswith(f"{writer}.")


def _summary(info: ObjectInfo) -> RecordSummary:
    return RecordSummary(
        task_id=_id_of(info.name),
        task_type=info.metadata.get("task_type", ""),
        queue=info.metadata.get("queue", ""),
        status=Status(info.metadata.get("status", Status.QUEUED)),
        submitted_at=info.metadata.get("submitted_at", ""),
        updated_at=info.updated_at.isoformat() if info.updated_at else "",
        not_before=info.metadata.get("not_before"),
        discarded=_DISCARDED in info.metadata,
    )


def _id_of(name: str) -> str:
    return name.removeprefix(names.TASKS).removesuffix(".json")


def _name_of(page_token: str) -> str:
    """The name of the last record of the page that gave the token: a task id."""
    try:
        return names.record(page_token)
    except InvalidName:
        raise InvalidName("page_token: this is no token of such a listing") from None


def _metadata(record: TaskRecord) -> dict[str, str]:
    return {
        "status": record.status,
        "task_type": record.task_type,
        "queue": record.queue,
        "submitted_at": record.submitted_at.isoformat(),
        **({"not_before": record.not_before.isoformat()} if record.not_before is not None else {}),
        **({_DISCARDED: "true"} if record.discarded_at is not None else {}),
    }
