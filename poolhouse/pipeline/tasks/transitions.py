"""The rules by which a task's record changes. Pure: no I/O, no clock of their own.

A record is written with a generation precondition each time, so of two that decide at once only one does. Times come in
as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.trace import recorded_trace_id
from poolhouse.pipeline.tasks.links import links_of
from poolhouse.pipeline.tasks.records import (
    Attempt,
    ErrorInfo,
    FollowUp,
    Outcome,
    Progress,
    ResultObject,
    Status,
    Step,
    TaskRecord,
)

#: Attempts kept in a record: the newest ones. Their numbers go on.
KEPT_ATTEMPTS = 25


class _Decision(BaseModel):
    model_config = ConfigDict(frozen=True)


class Claim(_Decision):
    """What to do with a delivery: the answer of `claim`."""


class Run(Claim):
    """Write this record; if that succeeds, run the handler."""

    record: TaskRecord


class AlreadyClaimed(Claim):
    """The record says that this very attempt has begun: its claim was written, and only the answer was lost."""

    record: TaskRecord


class Finished(Claim):
    """The task has ended: a duplicate delivery."""

    record: TaskRecord


class LeasedElsewhere(Claim):
    """Another attempt is in hand; look again at `until`."""

    until: datetime


class TakeOver(Claim):
    """The worker of the attempt in hand is gone: write this record, which waits, and decide again.

    A step of its own, so that an attempt's end and its being taken over compete for one write.
    """

    record: TaskRecord


class NotDue(Claim):
    """The next attempt is not due before `until`."""

    until: datetime


class Exhausted(Claim):
    """No attempt is left: write this record, which is dead."""

    record: TaskRecord


class Again(_Decision):
    """Another attempt may be made."""


class Dead(_Decision):
    """No attempt is left."""

    reason: str


def after_failure(
    record: TaskRecord, error: ErrorInfo | str, max_attempts: int, *, attempts: int | None = None
) -> Again | Dead:
    """Decide whether a task gets another attempt after a failed one. The only place where that is decided.

    Args:
        record: the task's record; its newest attempt is the failed one.
        error: what the attempt failed with, or how it ended.
        max_attempts: attempts after which the task is dead.
        attempts: the attempts so far, where no record is kept that counts them.
    """
    made = record.counted_attempts if attempts is None else attempts
    if made < max_attempts:
        return Again()
    why = error if isinstance(error, str) else f"{error.type}: {error.message}"
    return Dead(reason=f"all {made} attempts used up; the last one: {why}")


def fresh(task: TaskMessage, *, now: datetime) -> TaskRecord:
    """The record of a task that nothing has been done for yet."""
    waits = task.not_before is not None and task.not_before > now
    return TaskRecord(
        task_id=task.task_id,
        task_type=task.task_type,
        queue=task.queue,
        status=Status.SCHEDULED if waits else Status.QUEUED,
        submitted_at=task.submitted_at,
        updated_at=now,
        payload=_own_payload(task),
        payload_object=task.payload_object,
        not_before=task.not_before if waits else None,
        **_linked(task),
        webhook_url=task.webhook_url,
        trace_id=recorded_trace_id(task.trace),
    )


def waiting(task: TaskMessage, *, limit: str, now: datetime) -> TaskRecord:
    """The record of a task that no worker may begin yet, since a limit is used up."""
    return fresh(task, now=now).model_copy(update={"waits_for": limit})


def claim(
    record: TaskRecord | None,
    task: TaskMessage,
    *,
    owner: str,
    worker: str,
    now: datetime,
    lease_s: float,
    max_attempts: int,
    group_cancelled: bool = False,
) -> Claim:
    """Decide whether the holder of a delivery may start an attempt.

    Args:
        record: the task's record; None if there is none yet.
        owner: token of the attempt that would start.
        worker: name of the worker, for people.
        lease_s: how long the claim holds without renewal, in seconds.
        max_attempts: attempts after which the task is dead.
        group_cancelled: whether its whole group is cancelled.
    """
    if record is None:
        record = fresh(task, now=now)
    if record.status.final:
        return Finished(record=record)
    if record.status is Status.RUNNING:
        if record.owner == owner:
            return AlreadyClaimed(record=record)
        if record.lease_until is not None and record.lease_until > now:
            return LeasedElsewhere(until=record.lease_until)
        lost = _end_attempt(record, Outcome.LOST, now=now)
        if lost.cancel_requested_at is not None or group_cancelled:
            return Exhausted(record=cancelled(lost, now=now))
        if isinstance(end := after_failure(lost, _last_error(lost), max_attempts), Dead):
            return Exhausted(record=died(lost, reason=end.reason, now=now))
        return TakeOver(record=_waiting(lost, now=now, not_before=None))
    if record.cancel_requested_at is not None or group_cancelled:
        return Exhausted(record=cancelled(record, now=now))
    if record.not_before is not None and record.not_before > now:
        return NotDue(until=record.not_before)
    if record.attempts and isinstance(end := after_failure(record, _last_error(record), max_attempts), Dead):
        return Exhausted(record=died(record, reason=end.reason, now=now))
    attempt = Attempt(number=record.last_attempt + 1, worker=worker, started_at=now)
    return Run(
        record=record.model_copy(
            update={
                "status": Status.RUNNING,
                "owner": owner,
                "lease_until": now + timedelta(seconds=lease_s),
                "not_before": None,
                "waits_for": None,
                "progress": None,
                "attempts": (*record.attempts, attempt)[-KEPT_ATTEMPTS:],
                "updated_at": now,
            }
        )
    )


def renewed(record: TaskRecord, *, now: datetime, lease_s: float, progress: Progress | None = None) -> TaskRecord:
    """The running record with a lease from now on, and the newest progress."""
    return record.model_copy(
        update={
            "lease_until": now + timedelta(seconds=lease_s),
            "progress": progress or record.progress,
            "updated_at": now,
        }
    )


def carried_on(record: TaskRecord, *, steps: Iterable[Step], cursor: tuple[Any] | None) -> TaskRecord:
    """The record with further steps, and the cursor where there is a new one."""
    known = {step.name for step in record.steps}
    return record.model_copy(
        update={
            "steps": (*record.steps, *(step for step in steps if step.name not in known)),
            "cursor": record.cursor if cursor is None else cursor[0],
        }
    )


def succeeded(
    record: TaskRecord,
    *,
    now: datetime,
    result: Any = None,
    result_object: ResultObject | None = None,
    follow_ups: tuple[FollowUp, ...] = (),
    groups: tuple[Group, ...] = (),
    progress: Progress | None = None,
) -> TaskRecord:
    """The record of a task whose handler returned."""
    ended = _end_attempt(record, Outcome.SUCCEEDED, now=now)
    return _final(
        ended,
        Status.SUCCEEDED,
        now=now,
        result=result,
        result_object=result_object,
        follow_ups=follow_ups,
        groups=groups or None,
        progress=progress or record.progress,
    )


def retried(
    record: TaskRecord, *, error: ErrorInfo, now: datetime, retry_at: datetime | None = None, counts: bool = True
) -> TaskRecord:
    """The record after a failed attempt that is to be followed by another, not before `retry_at` where given."""
    ended = _end_attempt(record, Outcome.FAILED, now=now, error=error)
    if not counts:
        ended = ended.model_copy(update={"uncounted": record.uncounted + 1})
    return _waiting(ended, now=now, not_before=retry_at)


def stopped(record: TaskRecord, *, now: datetime) -> TaskRecord:
    """The record of a task whose worker gives it back unfinished: another may start at once, and it does not count."""
    ended = _end_attempt(record, Outcome.STOPPED, now=now)
    return _waiting(ended.model_copy(update={"stops": record.stops + 1}), now=now, not_before=None)


def failed(record: TaskRecord, *, error: ErrorInfo, reason: str, now: datetime) -> TaskRecord:
    """The record of a task that its handler refused for good."""
    return _final(_end_attempt(record, Outcome.REJECTED, now=now, error=error), Status.FAILED, now=now, reason=reason)


def died(record: TaskRecord, *, reason: str, now: datetime, error: ErrorInfo | None = None) -> TaskRecord:
    """The record of a task that nothing more is tried for."""
    return _final(_end_attempt(record, Outcome.FAILED, now=now, error=error), Status.DEAD, now=now, reason=reason)


def cancelled(record: TaskRecord, *, now: datetime, reason: str = "cancelled") -> TaskRecord:
    """The record of a task that will not run, or run on, since a client said so."""
    return _final(_end_attempt(record, Outcome.CANCELLED, now=now), Status.CANCELLED, now=now, reason=reason)


def cancel_requested(record: TaskRecord, *, now: datetime, reason: str = "cancelled") -> TaskRecord:
    """The record after a cancel call: final where no worker runs the task, else with the request in it."""
    if record.status is Status.RUNNING and record.lease_until is not None and record.lease_until > now:
        return record.model_copy(update={"cancel_requested_at": record.cancel_requested_at or now, "updated_at": now})
    return cancelled(record, now=now, reason=reason)


def message_of(record: TaskRecord) -> TaskMessage:
    """The message of a recorded task, made anew: without the trace that it was submitted with."""
    return TaskMessage(
        task_id=record.task_id,
        task_type=record.task_type,
        submitted_at=record.submitted_at,
        queue=record.queue,
        payload=record.payload,
        not_before=record.not_before,
        links=links_of(record),
        payload_object=record.payload_object,
        webhook_url=record.webhook_url,
    )


def moved(record: TaskRecord, *, not_before: datetime | None, now: datetime) -> TaskRecord:
    """The record of a waiting task that is to run at another time; None: as soon as a worker is free."""
    return _waiting(record, now=now, not_before=not_before)


def identified(record: TaskRecord, task: TaskMessage) -> TaskRecord:
    """The record that a cancel call made of an unread task: type, queue and payload are in the message."""
    return record.model_copy(
        update={
            "task_type": task.task_type,
            "queue": task.queue,
            "payload": _own_payload(task),
            "payload_object": task.payload_object,
            **_linked(task),
            "webhook_url": task.webhook_url,
            "trace_id": recorded_trace_id(task.trace),
        },
    )


def replayed(record: TaskRecord, *, now: datetime, task: TaskMessage | None = None) -> TaskRecord:
    """The record of a dead task that gets a new life: its history stays, its attempts start anew.

    Args:
        record: the dead task's.
        now: the present.
        task: the task with another payload, where it is given one.
    """
    if task is not None:
        record = record.model_copy(
            update={
                "payload": _own_payload(task),
                "payload_object": task.payload_object,
                "steps": (),  # they were taken with the old one
                "cursor": None,
            },
        )
    return record.model_copy(
        update={
            "status": Status.QUEUED,
            "reason": None,
            "cancel_requested_at": None,
            "not_before": None,
            "discarded_at": None,
            "forgiven_attempts": record.last_attempt,
            "stops": 0,
            "uncounted": 0,
            "replayed_at": (*record.replayed_at, now),
            "updated_at": now,
        }
    )


def discarded(record: TaskRecord, *, now: datetime) -> TaskRecord:
    """The record of a dead task that is given up: it stays failed, without a dead letter."""
    return _final(record, Status.FAILED, now=now, reason=record.reason or "discarded", discarded_at=now)


def forwarded(record: TaskRecord, *, tried: int | None, reason: str, now: datetime) -> TaskRecord | None:
    """What becomes of an unfinished task whose message Pub/Sub has given up after so many deliveries.

    Pub/Sub counts deliveries, among them many that were no attempts, so it does not decide: the message goes back to
    its queue, and the record's own count ends the task. Only a message that comes to no attempt at all (it kills the
    worker before that) is dead, since it would go round for ever.

    Args:
        tried: the newest attempt when the message went back the last time; None if it never did.

    Returns:
        The record of a dead task; or None where the message is to go back to its queue.
    """
    if record.last_attempt > (tried or 0) or (record.not_before is not None and record.not_before > now):
        return None
    return died(record, reason=reason, now=now)


def _linked(task: TaskMessage) -> dict[str, Any]:
    """The fields of a record that say what its task is linked with; they refer to parts that are kept as they are."""
    return {} if task.links is None else {name: getattr(task.links, name) for name in task.links.model_fields_set}


def _own_payload(task: TaskMessage) -> dict[str, Any]:
    """What a record keeps of a task's payload itself."""
    return dict(task.payload) if task.payload_object is None else {}


def _last_error(record: TaskRecord) -> ErrorInfo | str:
    last = record.attempts[-1]
    return last.error or f"the worker was {last.outcome}"


def _end_attempt(record: TaskRecord, outcome: Outcome, *, now: datetime, error: ErrorInfo | None = None) -> TaskRecord:
    if not record.attempts or record.attempts[-1].outcome is not Outcome.RUNNING:
        return record
    last = record.attempts[-1].model_copy(update={"ended_at": now, "outcome": outcome, "error": error})
    return record.model_copy(update={"attempts": (*record.attempts[:-1], last)})


def _waiting(record: TaskRecord, *, now: datetime, not_before: datetime | None) -> TaskRecord:
    return record.model_copy(
        update={
            "status": Status.SCHEDULED if not_before is not None and not_before > now else Status.QUEUED,
            "owner": None,
            "lease_until": None,
            "not_before": not_before,
            "updated_at": now,
        }
    )


def _final(record: TaskRecord, status: Status, *, now: datetime, **fields: Any) -> TaskRecord:
    if fields.get("reason") is not None:
        fields["reason"] = clean_text(fields["reason"])
    return record.model_copy(
        update={
            "status": status,
            "owner": None,
            "lease_until": None,
            "not_before": None,
            "waits_for": None,
            "updated_at": now,
            **fields,
        }
    )
