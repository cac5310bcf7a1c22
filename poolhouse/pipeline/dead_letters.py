"""What failed for good: kept as `dead-letters/QUEUE/ID.json` with its reason, until replayed or discarded.

Workers publish to a queue's dead-letter topic, with the reason in the attributes; Pub/Sub itself forwards there what
was delivered too often. The dead-letter worker keeps both kinds here. API, commands and console share this module.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline import names, records
from poolhouse.pipeline.errors import Conflict, MalformedMessage, ObjectNotFound, PreconditionFailed, TaskNotFound
from poolhouse.pipeline.message import TaskMessage, decode
from poolhouse.pipeline.publisher import Publisher
from poolhouse.pipeline.record_store import RecordStore, Stored
from poolhouse.pipeline.records import Attempt, Status
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore
from poolhouse.pipeline.task_ids import TaskIds

#: Attributes that a worker adds to what it sends to the dead-letter topic.
REASON = "dead_letter_reason"
MESSAGE_ID = "dead_letter_message_id"
PUBLISHED_AT = "dead_letter_published_at"
#: Pub/Sub, Quotas and limits: bytes of an attribute's value, and attributes of a message.
_MAX_VALUE_BYTES = 1024
_MAX_ATTRIBUTES = 100
_OWN = (REASON, MESSAGE_ID, PUBLISHED_AT, "task_id")
#: Pub/Sub, Handle message failures: set on what Pub/Sub forwards by itself.
_FORWARDED_PREFIX = "CloudPubSubDeadLetterSource"


class DeadLetter(BaseModel):
    """One message that failed for good."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    task_type: str
    queue: str
    reason: str
    died_at: datetime
    message_id: str
    published_at: datetime
    #: The original body; `data_base64` instead where it is not UTF-8.
    data: str | None = None
    data_base64: str | None = None
    attributes: dict[str, str]
    attempts: tuple[Attempt, ...] = ()

    def body(self) -> bytes:
        """The original body, byte for byte."""
        return base64.b64decode(self.data_base64) if self.data_base64 is not None else (self.data or "").encode()


@dataclass(frozen=True, kw_only=True)
class DeadLetterSummary:
    """What a listing tells of a dead letter without reading it."""

    task_id: str
    task_type: str
    queue: str
    reason: str
    died_at: str


@dataclass(frozen=True)
class DeadLetterPage:
    """One page of summaries; `next_token` is None on the last."""

    dead_letters: tuple[DeadLetterSummary, ...]
    next_token: str | None


def attributes_for(
    attributes: Mapping[str, str], *, task_id: str, reason: str, message_id: str, published_at: datetime
) -> dict[str, str]:
    """The attributes under which a worker sends a message to the dead-letter topic: the original ones and why."""
    kept = dict(list(attributes.items())[: _MAX_ATTRIBUTES - len(_OWN)])
    short = reason.encode()[:_MAX_VALUE_BYTES].decode(errors="ignore")
    return {
        **kept,
        "task_id": task_id,
        REASON: short,
        MESSAGE_ID: message_id,
        PUBLISHED_AT: published_at.isoformat(),
    }


class DeadLetterBox:
    """The dead letters of a deployment. Every call may raise `StoreUnavailable`."""

    def __init__(self, store: ObjectStore, *, queues: tuple[str, ...], task_ids: TaskIds) -> None:
        self._store = store
        self._records = RecordStore(store)
        self._queues = queues
        self._task_ids = task_ids

    def keep(self, queue: str, data: bytes, attributes: Mapping[str, str], *, message_id: str, now: datetime) -> bool:
        """Keep a message of a dead-letter subscription, and bring its record to its end.

        Returns False, and keeps nothing, where the task has ended well or been cancelled meanwhile.

        Raises:
            Conflict: an attempt is in hand elsewhere, or the record just changed: let the message come again later.
        """
        original = {
            name: value
            for name, value in attributes.items()
            if name not in {REASON, MESSAGE_ID, PUBLISHED_AT} and not name.startswith(_FORWARDED_PREFIX)
        }
        source_id = attributes.get(MESSAGE_ID, message_id)
        published_at = _time(
            attributes.get(PUBLISHED_AT) or attributes.get(f"{_FORWARDED_PREFIX}TopicPublishTime"), now
        )
        try:
            task: TaskMessage | None = decode(
                data,
                original,
                queue=queue,
                message_id=source_id,
                published_at=published_at,
                task_ids=self._task_ids,
            )
            reason = attributes.get(REASON) or _forwarded(attributes)
        except MalformedMessage as error:
            task = None
            reason = str(error)
        task_id = (
            task.task_id if task else original.get("task_id") or self._malformed_id(queue, source_id, published_at)
        )
        attempts: tuple[Attempt, ...] = ()
        if task is not None:
            stored = self._end_record(task, reason=reason, published_at=published_at, now=now)
            if stored is None:
                return False
            attempts, reason = stored.record.attempts, stored.record.reason or reason
        letter = DeadLetter(
            task_id=task_id,
            task_type=task.task_type if task else original.get("task_type", ""),
            queue=queue,
            reason=reason,
            died_at=now,
            message_id=source_id,
            published_at=published_at,
            attributes=original,
            attempts=attempts,
            **_body(data),
        )
        with contextlib.suppress(PreconditionFailed):  # kept already: a duplicate
            self._store.put(
                names.dead_letter(queue, task_id),
                letter.model_dump_json().encode(),
                metadata={
                    "task_type": letter.task_type,
                    "reason": letter.reason[:500],
                    "died_at": now.isoformat(),
                },
                if_generation=ABSENT,
            )
        return True

    def page(self, *, queue: str | None = None, page_size: int = 100, page_token: str | None = None) -> DeadLetterPage:
        """A page of the dead letters of one queue, or of all."""
        prefix = names.DEAD_LETTERS if queue is None else f"{names.DEAD_LETTERS}{queue}/"
        page = self._store.list(prefix, page_size=page_size, page_token=page_token)
        return DeadLetterPage(tuple(_summary(info) for info in page.objects), page.next_token)

    def count(self, queue: str) -> int:
        """How many dead letters a queue has."""
        total, token = 0, None
        while True:
            page = self._store.list(f"{names.DEAD_LETTERS}{queue}/", page_token=token)
            total, token = total + len(page.objects), page.next_token
            if token is None:
                return total

    def get(self, task_id: str) -> DeadLetter:
        """The dead letter of a task. Raises `TaskNotFound`."""
        names.check_task_id(task_id)
        for queue in self._queues:
            try:
                data, _ = self._store.get(names.dead_letter(queue, task_id))
            except ObjectNotFound:
                continue
            return DeadLetter.model_validate_json(data)
        raise TaskNotFound(f"there is no dead letter {task_id}")

    def replay(
        self, task_id: str, publisher: Publisher, *, now: datetime, payload: dict[str, Any] | None = None
    ) -> str:
        """Give a task a new life: same id, its history kept, attempts from the start. Returns the new message's id.

        Args:
            payload: fields to use instead of the original ones; the caller has validated them.

        Raises:
            TaskNotFound: there is no such dead letter.
            Conflict: it was replayed meanwhile; or it has no readable payload and none was given.
            QueueUnavailable: not published; the dead letter is still there.
        """
        letter = self.get(task_id)
        stored = self._records.read(task_id)
        if stored is not None:
            if stored.record.status not in {Status.DEAD, Status.FAILED, Status.QUEUED}:
                self._store.delete(names.dead_letter(letter.queue, task_id))
                raise Conflict(f"task {task_id} is {stored.record.status} already: its dead letter is gone")
            try:
                self._records.write(
                    records.replayed(stored.record, now=now, payload=payload), if_generation=stored.generation
                )
            except PreconditionFailed:
                raise Conflict(f"task {task_id} was changed by another call just now; look at it again") from None
        task = self._task_of(letter, payload)
        attributes = {**letter.attributes, "task_id": task_id}
        data = letter.body() if task is None else task.data()
        message_id = publisher.replay(letter.queue, data, attributes).result()
        self._store.delete(names.dead_letter(letter.queue, task_id))
        return message_id

    def discard(self, task_id: str, *, now: datetime) -> None:
        """Give a task up: it stays failed, and its dead letter is deleted. Raises `TaskNotFound`, `Conflict`."""
        letter = self.get(task_id)
        stored = self._records.read(task_id)
        if stored is not None and stored.record.status in {Status.DEAD, Status.FAILED}:
            record = records.discarded(stored.record, now=now)
            try:
                self._records.write(record, if_generation=stored.generation)
            except PreconditionFailed:
                raise Conflict(f"task {task_id} was changed by another call just now; look at it again") from None
        self._store.delete(names.dead_letter(letter.queue, task_id))

    def _end_record(self, task: TaskMessage, *, reason: str, published_at: datetime, now: datetime) -> Stored | None:
        stored = self._records.read(task.task_id)
        if stored is not None:
            record = stored.record
            if record.status in {Status.DEAD, Status.FAILED}:
                return stored if record.discarded_at is None else None
            if record.status.final or (record.replayed_at and published_at < record.replayed_at[-1]):
                return None  # ended meanwhile, or a late copy of what has been replayed since
            if record.status is Status.RUNNING and record.lease_until is not None and record.lease_until > now:
                raise Conflict(f"task {task.task_id} is running")
        else:
            record = records.fresh(task, now=now)
        try:
            return self._records.write(
                records.died(record, reason=reason, now=now), if_generation=stored.generation if stored else ABSENT
            )
        except PreconditionFailed:
            raise Conflict(f"task {task.task_id} changed just now") from None

    def _task_of(self, letter: DeadLetter, payload: dict[str, Any] | None) -> TaskMessage | None:
        try:
            task = decode(
                letter.body(),
                letter.attributes,
                queue=letter.queue,
                message_id=letter.message_id,
                published_at=letter.published_at,
                task_ids=self._task_ids,
            )
        except MalformedMessage:
            if payload is not None and letter.task_type:
                return TaskMessage(
                    task_id=letter.task_id,
                    task_type=letter.task_type,
                    submitted_at=letter.published_at,
                    queue=letter.queue,
                    payload=payload,
                )
            return None
        return TaskMessage(
            task_id=letter.task_id,
            task_type=task.task_type,
            submitted_at=task.submitted_at,
            queue=letter.queue,
            payload=task.payload if payload is None else payload,
            trace=task.trace,
        )

    def _malformed_id(self, queue: str, message_id: str, published_at: datetime) -> str:
        return self._task_ids.derive(f"message {queue} {message_id}", published_at)


def _summary(info: ObjectInfo) -> DeadLetterSummary:
    queue, _, file = info.name.removeprefix(names.DEAD_LETTERS).partition("/")
    return DeadLetterSummary(
        task_id=file.removesuffix(".json"),
        task_type=info.metadata.get("task_type", ""),
        queue=queue,
        reason=info.metadata.get("reason", ""),
        died_at=info.metadata.get("died_at", ""),
    )


def _forwarded(attributes: Mapping[str, str]) -> str:
    count = attributes.get(f"{_FORWARDED_PREFIX}DeliveryCount", "too many")
    return f"delivered {count} times and never finished (forwarded by Pub/Sub)"


def _body(data: bytes) -> dict[str, str]:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def _time(text: str | None, otherwise: datetime) -> datetime:
    try:
        at = datetime.fromisoformat(text) if text else otherwise
    except ValueError:
        return otherwise
    return at if at.tzinfo else at.replace(tzinfo=UTC)
