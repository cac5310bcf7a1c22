"""Making the outcome of an attempt durable, in the order that keeps the promises.

A result is written before the record that names it, the record before follow-up tasks and dead letters are published,
and all of it before the ack.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, get_args

import structlog
from pydantic import ValidationError

from poolhouse.pipeline import names, pieces
from poolhouse.pipeline.errors import Conflict, MessageRefused, PreconditionFailed, QueueUnavailable
from poolhouse.pipeline.groups.launch import launch
from poolhouse.pipeline.hooks import AttemptOutcome
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.messaging.message import NOT_BEFORE, PUT_OFF, TaskMessage, format_time, task_id_of
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import large_values, transitions
from poolhouse.pipeline.tasks.after_end import tasks_after
from poolhouse.pipeline.tasks.dead_letter_attributes import EARLIER_DELIVERIES, attributes_for
from poolhouse.pipeline.tasks.large_values import ValueLost, ValueObject
from poolhouse.pipeline.tasks.links import chain_problem
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import ErrorInfo, ResultObject, Status, TaskRecord
from poolhouse.pipeline.tasks.unique_keys import SUBMIT_TIME, Held, Pending, Taken, UniqueClaim, UniqueKeys
from poolhouse.pipeline.timing.delays import SHORT_WAIT_S, seconds_until
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.worker.errors import LeaseLost
from poolhouse.worker.runtime import task_log
from poolhouse.worker.runtime.delivery import Delivery
from poolhouse.worker.runtime.endings import Cancelled, Ending, Failed, Lost, Refused, Returned, Stopped
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.follow_ups import FollowUps, refusals
from poolhouse.worker.runtime.retrying import Stopping
from poolhouse.worker.runtime.running_task import RunningTask
from poolhouse.worker.runtime.services import Services

#: Results up to this size, as JSON, are kept in the record itself; larger ones are objects of their own.
INLINE_RESULT_BYTES = 64 * 1024

_log = structlog.get_logger(__name__)


#: What became of a delivery.
Disposition = Literal["succeeded", "retried", "failed", "dead", "cancelled", "stopped", "duplicates"]


@dataclass(frozen=True)
class Settled:
    """How an attempt ended."""

    outcome: AttemptOutcome
    error: ErrorInfo | None = None
    #: When the next attempt may start, where the handler or its backoff says so.
    retry_at: datetime | None = None


_SUCCEEDED = Settled("succeeded")


@dataclass(frozen=True)
class Counts:
    """How many deliveries of this worker ended in each way. Thread-safe."""

    _numbers: dict[Disposition, int] = field(default_factory=lambda: dict.fromkeys(get_args(Disposition), 0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, disposition: Disposition) -> None:
        """Count one."""
        with self._lock:
            self._numbers[disposition] += 1

    def __getitem__(self, disposition: Disposition) -> int:
        return self._numbers[disposition]

    @property
    def failed_for_good(self) -> int:
        """Tasks that ended without success and were not cancelled."""
        return self["failed"] + self["dead"]


class Settlement:
    """Ends attempts. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._topology = services.topology
        self._registry = services.registry
        self._store = services.store
        self._publisher = services.publisher
        self._task_ids = services.task_ids
        self._timers = Timers(services.store)
        self._keys = UniqueKeys(services.store, longest_wait=services.topology.longest_wait)
        self._after_end = services.after_end
        self._follow_ups = FollowUps(services)
        self._hooks = services.hooks
        self._retry_io = services.retry_io
        self._now = services.now
        self.counts = Counts()

    def settle(self, delivery: Delivery, running: RunningTask, context: Context, end: Ending) -> Settled:
        """Bring an attempt to its end: result, record, what is to be published, ack."""
        try:
            settled, ended = self._settle_durably(delivery, running, context, end)
        except LeaseLost:
            self.counts.add("duplicates")
            delivery.defer(running.lease_s)
            return Settled("lost")
        except Stopping:
            # The record still says running: the worker that gets the message waits for the lease, then starts the next
            # attempt.
            delivery.nack()
            return Settled("stopped")
        except (ValueError, TypeError, RecursionError) as error:
            # What comes here was checked before; should a check be missing, another attempt would end here again.
            _log.exception("an outcome could not be recorded", task_id=running.record.task_id)
            reason = f"the outcome ({type(end).__name__.lower()}) could not be recorded: {clean_text(error, limit=300)}"
            unwritable = Refused(reason, ErrorInfo(type=type(error).__name__, message=reason))
            if not isinstance(end, Refused):
                return self.settle(delivery, running, context, unwritable)
            delivery.nack()
            return Settled("retried", unwritable.error)
        if ended is None:
            return settled
        try:
            self.close(delivery, ended)
        except Stopping:
            delivery.nack()
            return Settled("stopped")
        except Exception:  # noqa: BLE001
            # A mistake of ours: the record has its end, and what follows it is published when the message comes again.
            _log.exception("what follows a task could not be published", task_id=ended.task_id)
            delivery.nack()
        return settled

    def _settle_durably(
        self, delivery: Delivery, running: RunningTask, context: Context, end: Ending
    ) -> tuple[Settled, TaskRecord | None]:
        """Write result and record; returns the record where the task has ended, and is still to be closed."""
        now = self._now
        if isinstance(end, Returned) and (problem := self._chain_problem(running, end)) is not None:
            end = Refused(problem, ErrorInfo(type="InvalidValue", message=problem))
        if isinstance(end, Returned):
            result, result_object = self._keep_result(running, end)
            self._keep_payloads(context)
            record = self._finish(
                running,
                lambda record: transitions.succeeded(
                    record,
                    now=now(),
                    result=result,
                    result_object=result_object,
                    follow_ups=tuple(context.follow_ups),
                    groups=tuple(context.groups),
                    progress=running.progress,
                ),
            )
            self._ended(running, context, record, "succeeded")
            return _SUCCEEDED, record
        if isinstance(end, Refused):
            record = self._finish(
                running, lambda record: transitions.failed(record, error=end.error, reason=end.reason, now=now())
            )
            self._ended(running, context, record, "failed")
            return Settled("failed", end.error), record
        if isinstance(end, Cancelled):
            record = self._finish(running, lambda record: transitions.cancelled(record, now=now()))
            self._ended(running, context, record, "cancelled")
            return Settled("cancelled"), record
        if isinstance(end, Stopped):
            record = self._finish(running, lambda record: transitions.stopped(record, now=now()))
            self._ended(running, context, record, "stopped")
            delivery.hand_over(running.record.task_id)
            return Settled("stopped"), None
        if isinstance(end, Lost):
            raise LeaseLost("another worker has it")
        return self._retry_or_die(delivery, running, context, end)

    def _ended(self, running: RunningTask, context: Context, record: TaskRecord, disposition: Disposition) -> None:
        self.counts.add(disposition)
        task_log.ended(running, context, record, outcome=disposition)

    def _retry_or_die(
        self, delivery: Delivery, running: RunningTask, context: Context, end: Failed
    ) -> tuple[Settled, TaskRecord | None]:
        handler = running.handler
        limit = handler.attempts_in(self._topology.by_name[running.record.queue])
        attempts = running.record.counted_attempts if running.recorded else delivery.attempt
        decision = transitions.after_failure(running.record, end.error, limit, attempts=attempts)
        if isinstance(decision, transitions.Dead) and (end.counts or not running.recorded):
            reason = decision.reason
            record = self._finish(
                running, lambda record: transitions.died(record, reason=reason, now=self._now(), error=end.error)
            )
            self._ended(running, context, record, "dead")
            return Settled("dead", end.error), record
        after_s = end.after_s
        if after_s is None and handler.backoff is not None:
            after_s = handler.backoff.wait_s(attempts, random=random.random())
        retry_at = None if after_s is None else self._now() + timedelta(seconds=after_s)
        record = self._finish(
            running,
            lambda record: transitions.retried(
                record, error=end.error, now=self._now(), retry_at=retry_at, counts=end.counts
            ),
        )
        self._ended(running, context, record, "retried")
        if retry_at is None:
            delivery.nack()
        else:
            self.postpone(delivery, running.record.task_id, retry_at)
        return Settled("retried", end.error, retry_at), None

    def postpone(self, delivery: Delivery, task_id: str, until: datetime) -> None:
        """Let a message come again at a time, by Pub/Sub or by a timer, and be rid of it. Raises `Stopping`."""
        wait_s = seconds_until(until, now=self._now())
        if wait_s <= SHORT_WAIT_S:
            delivery.defer(wait_s)
            return
        # Pub/Sub's count begins anew with the message that the timer publishes; a task without a record has no other.
        attributes = {**delivery.attributes, EARLIER_DELIVERIES: str(delivery.attempt)}
        attributes.pop(PUT_OFF, None)  # it waits for this time now
        self._retry_io(
            lambda: self._timers.put(delivery.queue, delivery.data, attributes, task_id=task_id, not_before=until)
        )
        delivery.ack()

    def put_off(self, delivery: Delivery, task_id: str, *, after_s: float) -> None:
        """Let a message that waits for a limit come again later, by a copy: it is no failed delivery.

        Raises `Stopping`.
        """
        attributes = {
            **delivery.attributes,
            "task_id": task_id,
            NOT_BEFORE: format_time(self._now() + timedelta(seconds=after_s)),
            PUT_OFF: "true",
            # The copy is delivered twice before its time has come, and this delivery was no attempt.
            EARLIER_DELIVERIES: str(max(0, delivery.attempt - 2)),
        }
        self._retry_io(lambda: self._publisher.publish_raw(delivery.queue, delivery.data, attributes).result())
        delivery.ack()

    def _finish(self, running: RunningTask, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        return self._retry_io(lambda: running.finish(change))

    def close(self, delivery: Delivery, record: TaskRecord, *, payload_object: ValueObject | None = None) -> None:
        """Publish what follows a task's end, then ack. Done again for a duplicate: all of it is idempotent.

        Args:
            delivery: the message in hand.
            record: the final one.
            payload_object: what the message refers to; a record that a cancel call made does not know of it.
        """
        try:
            self._publish_following(delivery, record)
        except (QueueUnavailable, Conflict):
            delivery.nack()
            return
        if record.status in {Status.FAILED, Status.DEAD} and record.discarded_at is None:
            self.give_up(delivery, record.task_id, record.reason or "")
        else:
            self._remove_large_values(record, payload_object)
            delivery.ack()

    def _remove_large_values(self, record: TaskRecord, payload_object: ValueObject | None = None) -> None:
        """Delete what a task that ended without a dead letter had in objects. The bucket's lifecycle has what stays."""
        handler = self._registry.get(record.task_type)
        if handler is not None and not handler.record:
            return  # without a record a duplicate runs again, and wants its payload
        values = {*record.large_values, *(() if payload_object is None else (payload_object,))}
        for value in values:
            self._retry_io(partial(large_values.remove, self._store, value))

    def _keep_payloads(self, context: Context) -> None:
        """Write the large payloads of follow-ups, before the record that names them."""
        for follow_up in context.follow_ups:
            value, data = follow_up.payload_object, context.large_payloads.get(follow_up.task_id)
            if value is not None and data is not None:
                self._retry_io(partial(large_values.write, self._store, value, data))

    def _chain_problem(self, running: RunningTask, end: Returned) -> str | None:
        return chain_problem(running.record, end.encoded, max_bytes=self._topology.payloads.max_bytes)

    def _send(self, task: TaskMessage) -> Future[str]:
        """Send a member of a group."""
        task = self._hooks.submitting(self._follow_ups.placed(task))
        task = task.by_reference(above_bytes=self._topology.payloads.inline_bytes)
        return self._follow_ups.send(task, now=self._now())

    def _publish_following(self, delivery: Delivery, record: TaskRecord) -> None:
        following = self._retry_io(
            partial(
                tasks_after,
                record,
                self._after_end,
                inline_bytes=self._topology.payloads.inline_bytes,
                attributes=delivery.attributes,
            )
        )
        if not following and not record.groups:
            return
        now = self._now()
        tasks = [task for task in map(self._follow_ups.placed, following) if self._takes_key(task, now)]
        tasks = [self._hooks.submitting(task) for task in tasks]
        sent = [(task, self._retry_io(partial(self._follow_ups.send, task, now=now))) for task in tasks]
        for task, error in refusals(sent):
            tasks.remove(task)
            dead = self._retry_io(partial(self._follow_ups.refused, task, error, now=now)).record
            if dead is not None:
                self._publish_following(delivery, dead)
        for group in record.groups or ():
            started = partial(launch, group, self._store, submitted_at=record.updated_at)
            self._retry_io(partial(started, send=self._send, task_ids=self._task_ids))
        for task in tasks:
            handler = self._registry.get(task.task_type)  # None: gone since the parent ran
            waits = task.not_before is not None and task.not_before > now
            if handler is not None and (handler.unique is not None or (waits and handler.record)):
                self._retry_io(partial(self._record, transitions.fresh(task, now=now)))

    def _takes_key(self, task: TaskMessage, now: datetime) -> bool:
        """Whether a follow-up may be published: it is not unique, or has its key now.

        Where another task has the key, the follow-up's record says so: its id is known already.
        """
        handler = self._registry.get(task.task_type)
        if handler is None or handler.unique is None:
            return True
        unique = handler.unique
        value = (
            None if task.payload_data is not None else task.payload_object
        )  # with its data it is still to be written
        try:
            payload = task.payload if value is None else self._retry_io(lambda: large_values.read(self._store, value))
            by = handler.unique_by(payload, unique)
        except ValueLost:  # it has run and ended: this is a duplicate of its parent
            return False
        except ValidationError:  # its model is another since the parent ran: it fails with that for its reason
            return True
        claim = UniqueClaim(
            task_type=task.task_type,
            by=by,
            task_id=task.task_id,
            submitted_at=now,
            submitting_until=now + SUBMIT_TIME,
        )

        def take() -> Taken | Held:
            answer = self._keys.take(claim, unique, now=self._now())
            if isinstance(answer, Pending):
                raise QueueUnavailable("another task of this key is just being submitted")
            return answer

        answer = self._retry_io(take)
        if isinstance(answer, Taken):
            return True
        reason = f"not submitted: task {answer.task_id} has its key and is {answer.status}"
        refused = transitions.cancelled(transitions.fresh(task, now=now), now=now, reason=reason)
        self._retry_io(partial(self._record, refused))
        self._remove_large_values(refused)
        return False

    def _record(self, record: TaskRecord) -> None:
        """Write the record by which a follow-up is found before a worker has seen it."""
        with contextlib.suppress(PreconditionFailed):  # a duplicate of its parent, or a worker, was first
            RecordStore(self._store).submit(record)

    def give_up_malformed(self, delivery: Delivery, reason: str) -> None:
        """Send a message that is no task to the dead letters, under the id that belongs to its message id."""
        task_id = task_id_of(
            self._task_ids,
            queue=delivery.queue,
            message_id=delivery.message_id,
            published_at=delivery.published_at,
        )
        self.counts.add("dead")
        try:
            self.give_up(delivery, task_id, reason)
        except Stopping:
            delivery.nack()

    def give_up(self, delivery: Delivery, task_id: str, reason: str) -> None:
        """Send the message to the dead letters, then ack. Raises `Stopping`."""
        attributes = attributes_for(
            delivery.attributes,
            task_id=task_id,
            reason=reason,
            message_id=delivery.message_id,
            published_at=delivery.published_at,
        )
        try:
            self._retry_io(lambda: self._publisher.dead_letter(delivery.queue, delivery.data, attributes).result())
        except MessageRefused as error:
            # It came as large as a message may be: no room for a reason. Pub/Sub forwards it by its own count.
            _log.warning("no room for the reason in a dead letter", task_id=task_id, reason=reason, error=str(error))
            delivery.nack()
        else:
            delivery.ack()

    def _keep_result(self, running: RunningTask, end: Returned) -> tuple[Any, ResultObject | None]:
        """The result for the record, and the object that holds it where it is large or wanted as a file."""
        handler = running.handler
        small = len(end.encoded) <= INLINE_RESULT_BYTES
        inline = json.loads(end.encoded) if small else None
        if small and handler.result_file is None:
            return inline, None
        name = names.result(handler.result_file or handler.task_type, running.record.task_id)
        size_bytes = len(end.encoded)

        def write() -> tuple[Any, ResultObject]:
            try:
                pieces.write(self._store, name, end.encoded, if_generation=ABSENT)
            except PreconditionFailed:
                # An earlier attempt, or our own lost answer, wrote it: that one is the result.
                data, info = self._store.get(name)
                kept = json.loads(data) if info.size_bytes <= INLINE_RESULT_BYTES else None
                return kept, ResultObject(name=name, size_bytes=info.size_bytes)
            return inline, ResultObject(name=name, size_bytes=size_bytes)

        return self._retry_io(write)
