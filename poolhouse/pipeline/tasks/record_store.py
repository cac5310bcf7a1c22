"""Records in the bucket: `tasks/ID.json`, with what a listing filters by also as object metadata."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import InvalidName, ObjectNotFound, PreconditionFailed, RecordUnreadable
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord

#: Objects that one call of `page` looks at, at the most, before it answers with what it found and a token to go on.
SCAN_LIMIT = 10_000
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

    def page(
        self,
        *,
        status: Status | None = None,
        task_type: str | None = None,
        queue: str | None = None,
        page_size: int = 100,
        page_token: str | None = None,
    ) -> RecordPage:
        """Return a page of the tasks that have a record, the newest first.

        It may be short of `page_size`, even empty, before the last.

        Raises:
            InvalidName: `page_token` is none.
        """
        wanted = {
            name: value for name, value in (("status", status), ("task_type", task_type), ("queue", queue)) if value
        }
        found: list[RecordSummary] = []
        last: str | None = None if page_token is None else _token(page_token)
        scanned = 0
        while scanned < SCAN_LIMIT:
            # A filter may match few of many, and to list many at once costs an emulator no more than to list some.
            size = SCAN_LIMIT if wanted else page_size - len(found)
            # Two more: the last one of the page before, and one that tells whether there is a page after this one.
            listed = self._store.list(names.TASKS, page_size=size + 2, start=last)
            for info in listed.objects:
                if info.name == last:
                    continue  # the listing begins with the last one of the page before
                if len(found) == page_size or scanned == SCAN_LIMIT:
                    return RecordPage(tuple(found), _id_of(last or ""))
                scanned, last = scanned + 1, info.name
                found += _matching(info, wanted)
            if listed.next_token is None:
                return RecordPage(tuple(found), None)
        return RecordPage(tuple(found), _id_of(last or ""))


def written_by(record: TaskRecord, writer: str) -> bool:
    """Whether the last write of the record was this writer's."""
    return record.write_token.startswith(f"{writer}.")


def _matching(info: ObjectInfo, wanted: Mapping[str, str]) -> Iterator[RecordSummary]:
    if all(info.metadata.get(key) == value for key, value in wanted.items()):
        yield _summary(info)


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


def _token(page_token: str) -> str:
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
