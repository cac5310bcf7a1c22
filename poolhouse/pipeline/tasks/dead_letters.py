"""What failed for good: kept as `dead-letters/QUEUE/ID.json` with its reason, until replayed or discarded.

Workers publish to a queue's dead-letter topic, with the reason in the attributes; Pub/Sub itself forwards there what
was delivered too often. The dead-letter worker keeps both kinds here. API, commands and console share this module.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.control.filters import EVERYTHING, Filter
from poolhouse.pipeline.errors import (
    Conflict,
    InvalidName,
    MalformedMessage,
    ObjectNotFound,
    PoolhouseError,
    PreconditionFailed,
    RecordUnreadable,
    StoreUnavailable,
    TaskNotFound,
)
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.messaging.message import TaskMessage, decode, task_id_of
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks import dead_letter_attributes, large_values, transitions
from poolhouse.pipeline.tasks.dead_letter import (
    DeadLetter,
    DeadLetterPage,
    DeadLetterSummary,
    Kept,
    StoredLetter,
    Verdict,
    body_fields,
)
from poolhouse.pipeline.tasks.large_values import ValueObject
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Attempt, Status, TaskRecord
from poolhouse.pipeline.tasks.scan import scan
from poolhouse.pipeline.tasks.task_ids import TaskIds

#: A replay or discard that has not ended after this time, in seconds, has died: another may take the letter.
CLAIM_S = 30.0
#: A page's token: the queue and the task of its last letter.
_TOKEN = re.compile(r"[a-z0-9-]+/[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
#: Dead letters counted by one list call. Cloud Storage answers with fewer; its emulator takes as long for a few.
_COUNTED = 100_000

_log = structlog.get_logger(__name__)


class DeadLetterStore:
    """The dead letters of a deployment. Every call may raise `StoreUnavailable`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        queues: tuple[str, ...],
        task_ids: TaskIds,
        inline_bytes: int = large_values.INLINE_BYTES,
        unrecorded_attempts: Callable[[str, str], int] = lambda task_type, queue: 0,
    ) -> None:
        """The dead letters below `dead-letters/`.

        Args:
            store: the bucket.
            queues: the names of the queues.
            task_ids: of the deployment.
            inline_bytes: up to which a payload given at a replay travels in its message.
            unrecorded_attempts: attempts that a task type without records has in a queue, 0 for other types; for
                `keep`.
        """
        self._store = store
        self._records = RecordStore(store)
        self._queues = queues
        self._task_ids = task_ids
        self._inline_bytes = inline_bytes
        self._unrecorded_attempts = unrecorded_attempts

    def keep(
        self, queue: str, data: bytes, attributes: Mapping[str, str], *, message_id: str, now: datetime
    ) -> Verdict:
        """Keep a message of a dead-letter subscription, and bring its record to its end.

        Any bytes are kept: what is no task, or has a record that can't be read or written, is a dead letter all the
        same.

        Raises:
            Conflict: an attempt is in hand elsewhere, the letter is being replayed or discarded, or the record just
                changed: let the message come again later.
        """
        original = dead_letter_attributes.original(attributes)
        source_id = attributes.get(dead_letter_attributes.MESSAGE_ID, message_id)
        published_at = dead_letter_attributes.published_at(attributes, otherwise=now)
        reason = dead_letter_attributes.reason(attributes)
        task: TaskMessage | None = None
        attempts: tuple[Attempt, ...] = ()
        record: TaskRecord | None = None
        ended_here = False
        try:
            task = decode(
                data, original, queue=queue, message_id=source_id, published_at=published_at, task_ids=self._task_ids
            )
            task_id = task.task_id
        except MalformedMessage as error:
            if dead_letter_attributes.REASON not in attributes:  # a worker knows more: what the message was taken for
                reason = str(error)
            # Never the id in the attributes: the publisher of the message chose it, and it may be another task's.
            task_id = task_id_of(self._task_ids, queue=queue, message_id=source_id, published_at=published_at)
        if task is not None:
            try:
                ended = self._end_record(task, attributes, reason=reason, published_at=published_at, now=now)
            except RecordUnreadable as error:
                reason = f"{reason}; {error}"
            except (ValueError, TypeError, RecursionError) as error:
                _log.exception("the record of a dead task could not be written", task_id=task_id)
                reason = f"{reason}; its record could not be written: {clean_text(error, limit=300)}"
            else:
                if isinstance(ended, Verdict):
                    return ended
                record, ended_here = ended
                attempts, reason = record.attempts, record.reason or reason
        self._write_letter(
            DeadLetter(
                task_id=task_id,
                task_type=task.task_type if task else clean_text(original.get("task_type", ""), limit=100),
                queue=queue,
                reason=reason,
                died_at=now,
                message_id=source_id,
                published_at=published_at,
                attributes=original,
                attempts=attempts,
                **body_fields(data),
            ),
            now=now,
        )
        return Verdict(kept=Kept.KEPT, task_id=task_id, attributes=original, record=record, ended=ended_here)

    def page(
        self, chosen: Filter = EVERYTHING, *, page_size: int = 100, page_token: str | None = None
    ) -> DeadLetterPage:
        """Return a page of the dead letters that are chosen, by queue; the newest task of each first.

        It may be short of `page_size`, even empty, before the last.

        Raises:
            InvalidName: `page_token` is none.
        """

        def read(info: ObjectInfo) -> DeadLetterSummary | None:
            letter = _summary(info)
            meant = chosen.matches(
                queue=letter.queue, task_type=letter.task_type, reason=letter.reason, at=letter.died_at
            )
            return letter if meant else None

        if page_token is not None and not _TOKEN.fullmatch(page_token):
            raise InvalidName("page_token: this is no token of such a listing")
        scanned = scan(
            self._store,
            names.DEAD_LETTERS if chosen.queue is None else f"{names.DEAD_LETTERS}{chosen.queue}/",
            read=read,
            filtered=replace(chosen, queue=None) != EVERYTHING,
            page_size=page_size,
            after=None if page_token is None else f"{names.DEAD_LETTERS}{page_token}.json",
        )
        last = scanned.last
        token = None if last is None else last.removeprefix(names.DEAD_LETTERS).removesuffix(".json")
        return DeadLetterPage(scanned.found, token)

    def count(self, queue: str) -> int:
        """Count the dead letters of a queue; a list call for each 1,000 of them."""
        total, token = 0, None
        while True:
            page = self._store.list(f"{names.DEAD_LETTERS}{queue}/", page_size=_COUNTED, page_token=token)
            total, token = total + len(page.objects), page.next_token
            if token is None:
                return total

    def get(self, task_id: str) -> DeadLetter:
        """Return the dead letter of a task. Raises `TaskNotFound`."""
        return DeadLetter.model_validate_json(self._find(task_id)[0])

    def replay(
        self, task_id: str, publisher: Publisher, *, now: datetime, payload: dict[str, Any] | None = None
    ) -> str:
        """Give a task a new life: same id, its history kept, attempts from the start. Returns the new message's id.

        Args:
            payload: fields to use instead of the original ones; the caller has validated them.

        Raises:
            TaskNotFound: there is no such dead letter.
            Conflict: it was replayed meanwhile, or another call is at it.
            QueueUnavailable: not published; the dead letter is still there.
        """
        with self._claimed(task_id, now=now) as (letter, generation):
            task = self._task_of(letter, payload)
            changed = None if payload is None else task
            if changed is not None and changed.payload_object is not None and changed.payload_data is not None:
                large_values.write(self._store, changed.payload_object, changed.payload_data)
            try:
                stored = self._records.read(task_id)
                if stored is None and task is not None:
                    # No record says that it was replayed: it is submitted anew, for cancel orders given before.
                    task = replace(task, submitted_at=now)
                if stored is not None:
                    self._check_over(stored.record, letter, generation)
                    self._write_record(transitions.replayed(stored.record, now=now, task=changed), stored.generation)
                    if changed is not None:
                        self._remove_steps(stored.record, unless=changed.payload_object)
            except RecordUnreadable as error:
                if task is not None:
                    self._write_record(transitions.fresh(task, now=now), error.generation)
            attributes = {**letter.attributes, "task_id": task_id}
            if changed is not None:
                attributes = large_values.without_reference(attributes)
                if changed.payload_object is not None:
                    attributes |= large_values.attributes_of(changed.payload_object)
            data = letter.body() if task is None else task.data()
            message_id = publisher.publish_raw(letter.queue, data, attributes).result()
        try:
            if changed is not None:
                self._remove_payload(letter, unless=changed.payload_object)
            self._delete(letter, generation)
        except StoreUnavailable as error:  # the task lives: the answer says so, and a second replay finds it
            _log.warning("the dead letter of a replayed task is still there", task_id=task_id, error=str(error))
        return message_id

    def discard(
        self, task_id: str, *, now: datetime, follow: Callable[[TaskRecord], None] = lambda record: None
    ) -> None:
        """Give a task up: it stays failed, and its dead letter is deleted.

        Args:
            follow: called with the record before the letter is gone: after a crash in between the call can be repeated.

        Raises:
            TaskNotFound: there is no such dead letter.
            Conflict: another call is at it; and whatever `follow` raises.
        """
        with self._claimed(task_id, now=now) as (letter, generation):
            with contextlib.suppress(RecordUnreadable):
                stored = self._records.read(task_id)
                if stored is not None and _dead(stored.record):
                    record = transitions.discarded(stored.record, now=now)
                    self._write_record(record, stored.generation)
                    follow(record)
                    self._remove_steps(stored.record)
            self._remove_payload(letter)
            self._delete(letter, generation)

    def _remove_steps(self, record: TaskRecord, *, unless: ValueObject | None = None) -> None:
        """Delete the objects with results of the record's steps, but not one that is the task's payload too."""
        for step in record.steps:
            if step.result_object is not None and step.result_object != unless:
                large_values.remove(self._store, step.result_object)

    def _remove_payload(self, letter: DeadLetter, *, unless: ValueObject | None = None) -> None:
        """Delete the object with the letter's payload, where it has one and it is not another's too."""
        with contextlib.suppress(MalformedMessage):
            value = large_values.referred(letter.task_id, letter.attributes)
            if value is not None and value != unless:
                large_values.remove(self._store, value)

    def _check_over(self, record: TaskRecord, letter: DeadLetter, generation: int) -> None:
        """Raise `Conflict` where the task lives, or ended well, since its letter was kept: the letter is deleted."""
        if not _dead(record):
            self._delete(letter, generation)
            raise Conflict(f"task {record.task_id} is {record.status} already: its dead letter is gone")

    def _write_record(self, record: TaskRecord, generation: int) -> None:
        try:
            self._records.write(record, if_generation=generation)
        except PreconditionFailed:
            raise Conflict(f"task {record.task_id} was changed by another call just now; look at it again") from None

    @contextlib.contextmanager
    def _claimed(self, task_id: str, *, now: datetime) -> Iterator[tuple[DeadLetter, int]]:
        """A letter that no other replay or discard may touch meanwhile, and its generation; free again on an error.

        Emulators delete whatever the precondition says, so what decides is a write.
        """
        letter, generation = self._read(task_id)
        if letter.claimed_until is not None and letter.claimed_until > now:
            raise Conflict(f"another call replays or discards {task_id} just now: try again in {CLAIM_S:g} seconds")
        claimed = letter.model_copy(
            update={"claimed_until": now + timedelta(seconds=CLAIM_S), "claim": secrets.token_hex(8)}
        )
        try:
            generation = self._put(claimed, if_generation=generation)
        except PreconditionFailed:
            found, generation = self._read(task_id)
            if found.claim != claimed.claim:  # else it is our own write, whose answer was lost
                raise Conflict(f"another call replays or discards {task_id} just now: look at it again") from None
        try:
            yield letter, generation
        except BaseException:
            with contextlib.suppress(PoolhouseError):
                self._put(letter, if_generation=generation)
            raise

    def _read(self, task_id: str) -> tuple[StoredLetter, int]:
        data, info = self._find(task_id)
        return StoredLetter.model_validate_json(data), info.generation

    def _find(self, task_id: str) -> tuple[bytes, ObjectInfo]:
        names.check_task_id(task_id)
        for queue in self._queues:
            try:
                return self._store.get(names.dead_letter(queue, task_id))
            except ObjectNotFound:
                continue
        raise TaskNotFound(f"there is no dead letter {task_id}")

    def _put(self, letter: DeadLetter, *, if_generation: int) -> int:
        return self._store.put(
            names.dead_letter(letter.queue, letter.task_id),
            letter.model_dump_json().encode(),
            metadata={
                "task_type": letter.task_type,
                "reason": letter.reason[:500],
                "died_at": letter.died_at.isoformat(),
            },
            if_generation=if_generation,
        )

    def _delete(self, letter: DeadLetter, generation: int) -> None:
        with contextlib.suppress(PreconditionFailed):  # a new death has taken its place
            self._store.delete(names.dead_letter(letter.queue, letter.task_id), if_generation=generation)

    def _write_letter(self, letter: DeadLetter, *, now: datetime) -> None:
        """Keep a letter once; in place of one of an earlier life, but not under the hands of a replay or discard."""
        generation = ABSENT
        while True:
            try:
                self._put(letter, if_generation=generation)
                return
            except PreconditionFailed:
                pass
            try:
                data, info = self._store.get(names.dead_letter(letter.queue, letter.task_id))
            except ObjectNotFound:
                generation = ABSENT
                continue
            generation = info.generation
            try:
                found = StoredLetter.model_validate_json(data)
            except ValidationError:
                continue
            if found.claimed_until is not None and found.claimed_until > now:
                raise Conflict(f"the dead letter {letter.task_id} is being replayed or discarded")
            if found.message_id == letter.message_id or found.published_at > letter.published_at:
                return  # kept already: a duplicate, or a late copy

    def _end_record(
        self, task: TaskMessage, attributes: Mapping[str, str], *, reason: str, published_at: datetime, now: datetime
    ) -> tuple[TaskRecord, bool] | Verdict:
        """The record of a dead task, and whether it ended just now; or the verdict where it is not dead."""
        over = Verdict(kept=Kept.OVER, task_id=task.task_id, attributes={})
        given_up_by_us = dead_letter_attributes.REASON in attributes
        stored = self._records.read(task.task_id)
        if stored is None:
            record = transitions.fresh(task, now=now)
            attempts = self._unrecorded_attempts(task.task_type, task.queue)
            if not given_up_by_us and dead_letter_attributes.deliveries(attributes) < attempts:
                return _back(task, attributes, tried=0)
            died = transitions.died(record, reason=reason, now=now)
        else:
            record = stored.record
            if record.status in {Status.DEAD, Status.FAILED}:
                return (record, False) if record.discarded_at is None else over
            if record.status.final or (record.replayed_at and published_at < record.replayed_at[-1]):
                return over  # ended meanwhile, or a late copy of what has been replayed since
            if record.status is Status.RUNNING and record.lease_until is not None and record.lease_until > now:
                raise Conflict(f"task {task.task_id} is running")
            if given_up_by_us:
                died = transitions.died(record, reason=reason, now=now)
            else:
                tried = dead_letter_attributes.tried(attributes)
                decided = transitions.forwarded(record, tried=tried, reason=reason, now=now)
                if decided is None:
                    return _back(task, attributes, tried=record.last_attempt)
                died = decided
        try:
            return self._records.write(died, if_generation=stored.generation if stored else ABSENT).record, True
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
                made_anew = TaskMessage(
                    task_id=letter.task_id,
                    task_type=letter.task_type,
                    submitted_at=letter.published_at,
                    queue=letter.queue,
                    payload=payload,
                )
                return made_anew.by_reference(above_bytes=self._inline_bytes)
            return None
        again = TaskMessage(
            task_id=letter.task_id,
            task_type=task.task_type,
            submitted_at=task.submitted_at,
            queue=letter.queue,
            payload=task.payload if payload is None else payload,
            trace=task.trace,
            links=task.links,
            payload_object=task.payload_object if payload is None else None,
            webhook_url=task.webhook_url,
        )
        return again if payload is None else again.by_reference(above_bytes=self._inline_bytes)


def _dead(record: TaskRecord) -> bool:
    """Whether a task is dead, or was replayed by a call that could not publish it."""
    if record.status is Status.QUEUED:
        return bool(record.replayed_at) and record.last_attempt == record.forgiven_attempts
    return record.status in {Status.DEAD, Status.FAILED}


def _back(task: TaskMessage, attributes: Mapping[str, str], *, tried: int) -> Verdict:
    again = dead_letter_attributes.back(attributes, task_id=task.task_id, tried=tried)
    return Verdict(kept=Kept.BACK, task_id=task.task_id, attributes=again)


def _summary(info: ObjectInfo) -> DeadLetterSummary:
    queue, _, file = info.name.removeprefix(names.DEAD_LETTERS).partition("/")
    return DeadLetterSummary(
        task_id=file.removesuffix(".json"),
        task_type=info.metadata.get("task_type", ""),
        queue=queue,
        reason=info.metadata.get("reason", ""),
        died_at=info.metadata.get("died_at", ""),
    )
