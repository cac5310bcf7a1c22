"""Keys of unique tasks: of those that share one, one task at a time is submitted.

The key's object (`unique/SHA256.json`) names the task that has the key. It is written with a generation precondition
before that task is published; what the task's record says decides whether the key is still taken. So the end of a
task, a cancel call or an expired record free a key without another write, and a submit that died between claim and
publish loses it to the next one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import Conflict, ObjectNotFound, PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.unique import WAITING, Unique
from poolhouse.pipeline.timing import clock

#: Pause between two looks at a key that another submit is at, in seconds.
POLL_S = 0.1
#: Time from a claim to its task's record, apart from the publish call's: a submit that takes longer may lose its key.
SUBMIT_TIME = timedelta(seconds=15)
#: What the reason of a task begins with whose submit did not come to its end.
ABANDONED = "its submit did not come to its end:"
#: Times that a key is looked at anew, because others write it or its task's record meanwhile.
TRIES = 20

_log = structlog.get_logger(__name__)


class UniqueClaim(BaseModel):
    """Which task has a key."""

    model_config = ConfigDict(frozen=True)

    task_type: str
    #: The values of the fields that make the key, for people.
    by: dict[str, Any]
    task_id: str
    submitted_at: datetime
    #: Until when the call that wrote this may be submitting the task.
    submitting_until: datetime
    #: Whether it gives a dead task another life: until that is recorded, the record still reads as ended.
    replaying: bool = False

    @property
    def object_name(self) -> str:
        """The key's object."""
        text = json.dumps([self.task_type, self.by], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"{names.UNIQUE}{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}.json"


class Standing(Enum):
    """How a claim stands, for a task that wants the same key."""

    HELD = "held"
    FREE = "free"
    #: Its task is being submitted.
    PENDING = "pending"
    #: Its submit ended before its task had a record.
    ABANDONED = "abandoned"


def standing(claim: UniqueClaim, record: TaskRecord | None, unique: Unique, *, now: datetime) -> Standing:
    """Decide whether a claim keeps another task from its key.

    Args:
        claim: what the key's object says.
        record: the record of the task that it names; None if there is none.
        unique: the rule for the task that wants the key.
        now: the present.
    """
    believable = claim.submitted_at <= now + clock.MARGIN
    pending = believable and now < claim.submitting_until
    if record is None:
        return Standing.PENDING if pending else Standing.ABANDONED
    if claim.replaying and record.status.final and pending:
        return Standing.PENDING
    if unique.within_s is not None and (now - claim.submitted_at).total_seconds() >= unique.within_s:
        return Standing.FREE
    return Standing.HELD if record.status in unique.statuses else Standing.FREE


@dataclass(frozen=True)
class Taken:
    """The key is this task's; its object has this generation."""

    generation: int


@dataclass(frozen=True)
class Held:
    """Another task has the key."""

    task_id: str
    status: Status


@dataclass(frozen=True)
class Pending:
    """Another task is just being submitted with the key: ask again in `POLL_S`."""


class UniqueKeys:
    """The keys of a deployment. Thread-safe."""

    def __init__(self, store: ObjectStore, *, longest_wait: timedelta) -> None:
        """Nothing is called yet.

        Args:
            store: the bucket.
            longest_wait: the time after which no message of a task is left in any queue.
        """
        self._store = store
        self._records = RecordStore(store)
        self._longest_wait = longest_wait

    def take(self, claim: UniqueClaim, unique: Unique, *, now: datetime) -> Taken | Held | Pending:
        """Take a key for a task, if no other has it; again, for the same task, changes nothing.

        Raises:
            StoreUnavailable: storage did not answer, or the key's object is none.
            Conflict: the key changes all the time.
        """
        generation = ABSENT
        for _ in range(TRIES):
            try:
                return Taken(self._write(claim, generation))
            except PreconditionFailed:
                pass  # most likely there is one
            try:
                data, info = self._store.get(claim.object_name)
                found = UniqueClaim.model_validate_json(data)
            except ObjectNotFound:
                generation = ABSENT
                continue
            except ValidationError as error:
                raise StoreUnavailable(
                    f"{claim.object_name} is not a valid claim of a unique task: delete it"
                ) from error
            generation = info.generation
            # Our own write, its answer lost; or an earlier try to submit the same task.
            if found.task_id == claim.task_id and (found.replaying or not claim.replaying):
                return Taken(info.generation)
            verdict = self._judge(found, claim, unique, now=now)
            if verdict is not None:
                return verdict
        raise Conflict("the key of this unique task changes all the time: try again in a moment")

    def release(self, claim: UniqueClaim, generation: int) -> None:
        """Say that a task is not being submitted any more, so that the next one need not wait. Never raises."""
        try:
            self._write(claim.model_copy(update={"submitting_until": claim.submitted_at}), generation)
        except (PreconditionFailed, StoreUnavailable) as error:
            _log.info("a unique key could not be released", task_id=claim.task_id, error=str(error))

    def _write(self, claim: UniqueClaim, generation: int) -> int:
        return self._store.put(claim.object_name, claim.model_dump_json().encode(), if_generation=generation)

    def _judge(self, found: UniqueClaim, mine: UniqueClaim, unique: Unique, *, now: datetime) -> Held | Pending | None:
        """What keeps us from the key; None where it may be written, or is to be looked at again."""
        if found.task_id == mine.task_id:
            return None
        stored = self._records.read(found.task_id)
        record = stored.record if stored else None
        match standing(found, record, unique, now=now):
            case Standing.PENDING:
                return Pending()
            case Standing.HELD:
                assert stored is not None
                if unique.on_conflict != "replace" or stored.record.status not in WAITING:
                    return Held(found.task_id, stored.record.status)
                replaced = transitions.cancelled(stored.record, now=now, reason=f"replaced by {mine.task_id}")
                return self._settle(replaced, stored.generation)
            case Standing.ABANDONED if abs(now - found.submitted_at) < self._longest_wait:
                # Perhaps it was published after all: so that it never runs beside ours, its record says so first.
                unknown = TaskRecord(
                    task_id=found.task_id,
                    task_type=found.task_type,
                    queue="",
                    status=Status.QUEUED,
                    submitted_at=found.submitted_at,
                    updated_at=now,
                )
                lost = transitions.cancelled(unknown, now=now, reason=f"{ABANDONED} {mine.task_id} has its key")
                return self._settle(lost, None)
        return None

    def _settle(self, record: TaskRecord, generation: int | None) -> Pending | None:
        """Write how a task ended that had the key; without a generation, one that has no record."""
        try:
            if generation is None:
                self._records.submit(record)  # a submit call that is only slow, and then a worker, is kept out by it
                generation = ABSENT
            self._records.write(record, if_generation=generation)
        except PreconditionFailed:
            return Pending()  # it lives: look again
        return None
