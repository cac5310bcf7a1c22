"""Process a delivery to its end: claim the task, run its handler, settle what came of it.

A worker that dies anywhere in between leaves a message that comes again, and a record that says what is still to do.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import structlog

from poolhouse.pipeline.errors import MalformedMessage, PreconditionFailed, RecordUnreadable, StoreUnavailable
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.hooks import AttemptEnd, TaskInfo
from poolhouse.pipeline.messaging.message import TaskMessage, decode, task_id_of
from poolhouse.pipeline.messaging.object_events import is_object_event
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import large_values, transitions
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored, written_by
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.transitions import (
    AlreadyClaimed,
    Exhausted,
    Finished,
    LeasedElsewhere,
    NotDue,
    Run,
    TakeOver,
)
from poolhouse.pipeline.traces.process_traces import ProcessTraces
from poolhouse.worker.errors import Interrupted, TaskTimeout, WorkerStopping
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime import endings, task_log
from poolhouse.worker.runtime.admission.limits import Later, Limits
from poolhouse.worker.runtime.delivery import Delivery
from poolhouse.worker.runtime.endings import Ending, Stopped, error_info, interrupted
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.execution.executor import Executor, run_handler
from poolhouse.worker.runtime.heartbeat import Heartbeat
from poolhouse.worker.runtime.object_events import ObjectEvents
from poolhouse.worker.runtime.quarantine import Quarantine, lost_its_worker
from poolhouse.worker.runtime.retrying import Stopping
from poolhouse.worker.runtime.running_task import RunningTask
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.runtime.settlement import Counts, Disposition, Settlement

_log = structlog.get_logger(__name__)


class Attempts:
    """Processes deliveries; called from many threads."""

    def __init__(
        self,
        services: Services,
        *,
        settlement: Settlement,
        limits: Limits,
        quarantine: Quarantine,
        executor: Executor,
        heartbeat: Heartbeat,
        traces: ProcessTraces | None = None,
        worker_name: str,
        on_abandoned: Callable[[int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Collect what an attempt needs.

        Args:
            services: queues, bucket, handlers and clock.
            settlement: ends the attempts.
            limits: parks deliveries whose type, or key, runs as often as it may.
            quarantine: parks deliveries of tasks that may have killed a worker.
            executor: runs the handlers.
            heartbeat: renews the leases of running tasks.
            traces: records deliveries; None where traces are off.
            worker_name: goes into the records, for people.
            on_abandoned: called with the id of a thread whose handler is given up, and which is lost for other tasks.
            monotonic: measures how long attempts run, in seconds.
        """
        self._services = services
        self._topology = services.topology
        self._registry = services.registry
        self._records = RecordStore(services.store)
        self._groups = GroupStore(services.store)
        self._task_ids = services.task_ids
        self._now = services.now
        self._retry_io = services.retry_io
        self._hooks = services.hooks if services.hooks else None  # asked for each task
        self._settlement = settlement
        self._object_events = ObjectEvents(services)
        self._limits = limits
        self._quarantine = quarantine
        self._executor = executor
        self._heartbeat = heartbeat
        self._traces = traces
        self._worker_name = worker_name
        self._on_abandoned = on_abandoned
        self._monotonic = monotonic

    @property
    def counts(self) -> Counts:
        """What has come of the deliveries so far."""
        return self._settlement.counts

    def process(self, delivery: Delivery, *, admitted: bool = False) -> None:
        """Bring a delivery to its end, or park it until its type's limits have room. Never raises.

        Args:
            admitted: whether it was parked before and has its room now.
        """
        task: TaskMessage | None = None
        try:
            task = self._read(delivery)
            handler = self._registry.get(task.task_type)
            if self._cancelled_in_bulk(delivery, task, recorded=handler is None or handler.record):
                return
            if handler is None:
                self._settlement.give_up(delivery, task.task_id, f"unknown task type: {task.task_type}")
            elif admitted or self._admit(delivery, task, handler):
                try:
                    self._traced_attempt(delivery, _completed(task, handler), handler)
                finally:
                    self._quarantine.leave(delivery)
                    self._limits.leave(delivery)
        except MalformedMessage as error:
            self._not_a_task(delivery, str(error))
        except RecordUnreadable as error:
            assert task is not None
            self._give_up_unreadable(delivery, task.task_id, str(error))
        except Stopping:
            if task is not None:
                delivery.hand_over(task.task_id)
            else:
                delivery.nack()
        except (Exception, Interrupted, SystemExit):  # noqa: BLE001
            # A mistake of ours must not end the thread, nor lose the message: it comes again, and dies in the end.
            _log.exception("the worker failed on a message", message_id=delivery.message_id)
            delivery.nack()
        finally:
            if admitted:
                self._limits.leave(delivery)

    def _admit(self, delivery: Delivery, task: TaskMessage, handler: Handler) -> bool:
        """Whether the attempt may start now; if not, the delivery is parked or comes again later."""
        if handler.limited and task.not_before is not None and task.not_before > self._now():
            self._settlement.postpone(delivery, task.task_id, task.not_before)
            return False
        if task.payload_object is not None and handler.limited_by:
            value = task.payload_object
            with contextlib.suppress(large_values.ValueLost):  # its attempt fails with that for its reason
                task = replace(task, payload=self._retry_io(lambda: large_values.read(self._services.store, value)))
        admission = self._limits.admit(handler, task, delivery)
        if isinstance(admission, Later):
            self.note_waiting(delivery, admission.limit)
            self._settlement.put_off(delivery, task.task_id, after_s=admission.after_s)
        return admission == "admitted"

    def note_waiting(self, delivery: Delivery, limit: str) -> None:
        """Let the record of a task that nothing has been done for say which limit it waits for; never raises."""
        task = self._read(delivery)
        handler = self._registry.get(task.task_type)
        if handler is None or not handler.record or delivery.attempt > 1 or task.not_before is not None:
            return  # it has none, or most likely has one already
        with contextlib.suppress(PreconditionFailed, StoreUnavailable):
            if self._records.summary(task.task_id) is not None:
                return  # a duplicate: it runs already, or has ended
            self._records.submit(transitions.waiting(task, limit=limit, now=self._now()))

    def _not_a_task(self, delivery: Delivery, reason: str) -> None:
        """End what is no task message: an event of the bucket, or nothing at all."""
        if is_object_event(delivery.attributes):
            try:
                self._object_events.process(delivery, run=self.process)
                return
            except MalformedMessage as error:
                reason = str(error)
        self._settlement.give_up_malformed(delivery, reason)

    def _give_up_unreadable(self, delivery: Delivery, task_id: str, reason: str) -> None:
        try:
            self._settlement.give_up(delivery, task_id, reason)
        except Stopping:
            delivery.nack()

    @property
    def waiting(self) -> bool:
        """Whether a delivery is parked."""
        return self._limits.waiting or self._quarantine.waiting

    def parked(self) -> list[Delivery]:
        """Take back the deliveries that wait for room: nothing is resumed any more."""
        return [*self._limits.close(), *self._quarantine.close()]

    def parked_of(self, queue: str) -> list[Delivery]:
        """Take back the deliveries of a queue that wait for room."""
        return [*self._limits.take(queue), *self._quarantine.take(queue)]

    def return_unstarted(self, delivery: Delivery) -> None:
        """Give back a delivery that no thread has taken up, and the room that it has in its limits."""
        try:
            task = self._read(delivery)
        except MalformedMessage:
            if is_object_event(delivery.attributes):
                delivery.hand_over(self._id_of(delivery))
            else:
                delivery.nack()
            return
        delivery.hand_over(task.task_id)
        self._limits.leave(delivery)

    def _id_of(self, delivery: Delivery) -> str:
        """The id of what is no task message, such as an event that waits to become tasks."""
        return task_id_of(
            self._task_ids, queue=delivery.queue, message_id=delivery.message_id, published_at=delivery.published_at
        )

    def _read(self, delivery: Delivery) -> TaskMessage:
        return decode(
            delivery.data,
            delivery.attributes,
            queue=delivery.queue,
            message_id=delivery.message_id,
            published_at=delivery.published_at,
            task_ids=self._task_ids,
        )

    def _cancelled_in_bulk(self, delivery: Delivery, task: TaskMessage, *, recorded: bool) -> bool:
        """Bring a task to its end that an order cancels; False where none does: nothing has been done then."""
        control = self._services.control()
        orders = control.concerning(task, now=self._now(), keep=self._topology.longest_wait) if control.orders else ()
        while orders:
            # Also of a type without records: the one that a dead letter left says whether the task was replayed since.
            current = self._retry_io(lambda: self._records.read(task.task_id))
            now = self._now()
            results = (order.applied(current.record if current else None, task, now=now) for order in orders)
            record = next((result for result in results if result is not None), None)
            if record is None:
                return False
            if recorded or current is not None:
                try:
                    generation = current.generation if current else ABSENT
                    self._retry_io(partial(self._records.write, record, if_generation=generation))
                except PreconditionFailed:
                    continue
            self._settlement.counts.add("cancelled")
            self._settlement.close(delivery, record, payload_object=task.payload_object)
            self._notify_end(record, task)
            return True
        return False

    def _traced_attempt(self, delivery: Delivery, task: TaskMessage, handler: Handler) -> None:
        if self._traces is None:
            self._attempt(delivery, task, handler, trace=task.trace)
            return
        with self._traces.received(task) as trace:
            self._attempt(delivery, task, handler, trace=trace)

    def _attempt(self, delivery: Delivery, task: TaskMessage, handler: Handler, *, trace: Mapping[str, str]) -> None:
        queue = self._topology.by_name[task.queue]
        stored = self._claim(delivery, task, handler, lease_s=queue.ack_deadline_s)
        if stored is None:
            return
        running = RunningTask(
            stored,
            handler,
            started_s=self._monotonic(),
            store=self._records if handler.record else None,
            lease_s=queue.ack_deadline_s,
            hooks=None if self._hooks is None else self._hooks.of(task.task_type),
            trace=trace,
            due_at=None if task.put_off else task.not_before,
        )
        context = Context(running, self._services)
        once = _Once()
        if not handler.cpu and not handler.is_async:
            thread_id = threading.get_ident()
            running.abandon_handler = lambda: self._abandon(once, delivery, running, context, thread_id)
        self._heartbeat.add(running)
        task_log.started(running, context)
        try:
            end = self._load(running)
            if running.hooks is not None:
                running.hooks.before(running.info)
            if end is None:
                self._limits.started(delivery)
                end = run_handler(self._executor, running, context)
        finally:
            self._heartbeat.remove(running)
        if once.first():
            self._settle(delivery, running, context, end)

    def _settle(self, delivery: Delivery, running: RunningTask, context: Context, end: Ending) -> None:
        settled = self._settlement.settle(delivery, running, context, end)
        if running.hooks is not None:
            running.hooks.after(
                running.info,
                AttemptEnd(
                    outcome=settled.outcome,
                    duration_s=self._monotonic() - running.started_s,
                    error=settled.error,
                    retry_at=settled.retry_at,
                ),
            )

    def _load(self, running: RunningTask) -> Ending | None:
        """Read a large payload; how the attempt ends where that can't be."""
        value = running.record.payload_object
        if value is None:
            return None
        try:
            running.payload = self._retry_io(lambda: large_values.read(self._services.store, value))
        except large_values.ValueLost as error:
            return endings.lost_payload(error)
        except Stopping:
            return Stopped()
        return None

    def _claim(self, delivery: Delivery, task: TaskMessage, handler: Handler, *, lease_s: float) -> Stored | None:
        """The claimed record; None if the delivery has been brought to its end without a new attempt."""
        max_attempts = handler.attempts_in(self._topology.by_name[task.queue])
        owner = secrets.token_hex(8)
        current: Stored | None = None
        group_cancelled = self._group_cancelled(task)
        if not handler.record:
            decision = transitions.claim(
                None, task, owner=owner, worker=self._worker_name, now=self._now(), lease_s=0, max_attempts=max_attempts
            )
            if isinstance(decision, NotDue):
                self._settlement.postpone(delivery, task.task_id, decision.until)
                return None
            assert isinstance(decision, Run)
            return Stored(decision.record, ABSENT)
        if (
            delivery.attempt > 1 or task.not_before is not None or handler.unique is not None
        ):  # most likely there is a record: spare a failing write
            current = self._retry_io(lambda: self._records.read(task.task_id))
        while True:
            decision = transitions.claim(
                current.record if current else None,
                task,
                owner=owner,
                worker=self._worker_name,
                now=self._now(),
                lease_s=lease_s,
                max_attempts=max_attempts,
                group_cancelled=group_cancelled,
            )
            generation = current.generation if current else ABSENT
            if isinstance(decision, Finished):
                ours = written_by(decision.record, owner)  # the write below, when no answer came
                self._settlement.counts.add(_count_of(decision.record) if ours else "duplicates")
                record = decision.record
                if current is not None and not record.task_type:
                    record = self._identify(current, task)
                    self._notify_end(record, task)
                self._settlement.close(delivery, record, payload_object=task.payload_object)
                return None
            if isinstance(decision, AlreadyClaimed):
                return current
            if isinstance(decision, LeasedElsewhere | NotDue):
                self._settlement.postpone(delivery, task.task_id, decision.until)
                return None
            assert isinstance(decision, Run | Exhausted | TakeOver)
            record = decision.record
            if isinstance(decision, Run) and lost_its_worker(record) and not self._quarantine.admit(delivery):
                return None
            try:
                stored = self._retry_io(partial(self._records.write, record, if_generation=generation, writer=owner))
            except PreconditionFailed:
                current = self._retry_io(lambda: self._records.read(task.task_id))
                continue
            if isinstance(decision, Run):
                return stored
            if isinstance(decision, TakeOver):
                current = stored
                continue
            self._settlement.counts.add(_count_of(record))
            self._settlement.close(delivery, record)
            self._notify_end(record, task)
            return None

    def _group_cancelled(self, task: TaskMessage) -> bool:
        """Whether the task belongs to a group that is cancelled; looked up now for the join, of which there is one."""
        if task.links is None or task.links.group_id is None:
            return False
        group_id, fresh = task.links.group_id, task.links.group_index is None
        return self._retry_io(lambda: self._groups.cancelled(group_id, now=self._now(), fresh=fresh))

    def _notify_end(self, record: TaskRecord, task: TaskMessage) -> None:
        """Call the hooks of a task that ended without an attempt."""
        if self._hooks is None:
            return
        chain, info = self._hooks.of(task.task_type), TaskInfo.of(task)
        if record.status is Status.CANCELLED:
            chain.on_cancel(info)
        else:
            chain.on_death(info, record.reason or "")

    def _identify(self, current: Stored, task: TaskMessage) -> TaskRecord:
        record = transitions.identified(current.record, task)
        with contextlib.suppress(PreconditionFailed):  # another worker met a copy of the message at the same time
            self._retry_io(partial(self._records.write, record, if_generation=current.generation))
        return record

    def _abandon(self, once: _Once, delivery: Delivery, running: RunningTask, context: Context, thread_id: int) -> None:
        """The handler heeds no interruption: its attempt ends without it, and its thread is written off."""
        if once.first():
            self._heartbeat.remove(running)
            self._on_abandoned(thread_id)
            self._quarantine.leave(delivery)
            why = running.interruption or TaskTimeout()
            self._settle(delivery, running, context, interrupted(why, error_info(why)))
            if not isinstance(why, TaskTimeout | WorkerStopping):  # else it is raised already, or all ends anyway
                running.interrupt_handler(TaskTimeout("its attempt has been given up"))


def _completed(task: TaskMessage, handler: Handler) -> TaskMessage:
    """The task with what default factories make: kept in its record, it is the same in every attempt."""
    if not handler.makes_values or task.payload_object is not None:  # which was completed before it was written
        return task
    try:
        return replace(task, payload=handler.completed(task.payload))
    except Exception:  # noqa: BLE001 - it is refused with its reason once there is an attempt
        return task


def _count_of(record: TaskRecord) -> Disposition:
    return "cancelled" if record.status is Status.CANCELLED else "dead"


class _Once:
    """Who may bring an attempt to its end: the first to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def first(self) -> bool:
        return self._lock.acquire(blocking=False)
