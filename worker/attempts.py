"""From a delivery to its end: claim the task, run its handler, make the outcome durable, ack.

The order is what keeps the promises: a result is written before the record that names it, the record before follow-up
tasks and dead letters are published, and all of it before the ack. A worker that dies anywhere in between leaves a
message that comes again, and a record that says what is still to be done.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from pipeline import names, records
from pipeline.dead_letters import attributes_for
from pipeline.errors import (
    MalformedMessage,
    PreconditionFailed,
    QueueUnavailable,
    ServiceUnavailable,
    StoreUnavailable,
)
from pipeline.message import TaskMessage, decode
from pipeline.publisher import Publisher
from pipeline.record_store import RecordStore, Stored
from pipeline.records import Early, ErrorInfo, Exhausted, Finished, Held, ResultObject, Run, Status, TaskRecord
from pipeline.store import ABSENT, ObjectStore
from pipeline.task_ids import TaskIds
from pipeline.topology import Topology
from worker.delivery import Delivery
from worker.errors import LeaseLost, Reject, Retry, TaskCancelled, TaskTimeout, WorkerStopping
from worker.execution import Executor
from worker.keeper import Keeper
from worker.limits import Limits
from worker.processes import HandlerError
from worker.registry import Handler, Registry
from worker.running import Context, RunningTask

#: Results up to this size, as JSON, are kept in the record itself; larger ones are objects of their own.
INLINE_RESULT_BYTES = 64 * 1024
#: Lines of a traceback kept with a failed attempt, the last ones.
TRACEBACK_LINES = 20
#: Characters of an error message kept with a failed attempt.
ERROR_CHARACTERS = 2000
#: First and longest wait between two tries of a storage or publish call that must succeed, in seconds.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0

_log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")


@dataclass
class Counts:
    """What came of the deliveries of this worker. Changed under its lock."""

    succeeded: int = 0
    retried: int = 0
    failed: int = 0
    dead: int = 0
    cancelled: int = 0
    stopped: int = 0
    duplicates: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str) -> None:
        """Count one."""
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)

    @property
    def failed_for_good(self) -> int:
        """Tasks that ended without success and were not cancelled."""
        return self.failed + self.dead


class Stopping(Exception):
    """The worker stops: what is not durable now is for another worker."""


class Attempts:
    """Processes deliveries; called from many threads."""

    def __init__(
        self,
        *,
        topology: Topology,
        registry: Registry,
        store: ObjectStore,
        publisher: Publisher,
        task_ids: TaskIds,
        executor: Executor,
        keeper: Keeper,
        worker_name: str,
        now: Callable[[], datetime],
        stopping: threading.Event,
        on_abandoned: Callable[[int], None],
        resume: Callable[[Delivery], None],
    ) -> None:
        """Collects what an attempt needs.

        Args:
            worker_name: goes into the records, for people.
            stopping: once set, calls that wait for storage or Pub/Sub give up.
            on_abandoned: called with the id of a thread whose handler is given up, and which is lost for other tasks.
            resume: called with a parked delivery that has room now; is to call `process` with `admitted`.
        """
        self._topology = topology
        self._registry = registry
        self._store = store
        self._records = RecordStore(store)
        self._publisher = publisher
        self._task_ids = task_ids
        self._executor = executor
        self._keeper = keeper
        self._worker_name = worker_name
        self._now = now
        self._stopping = stopping
        self._on_abandoned = on_abandoned
        self._limits = Limits(resume)
        self.counts = Counts()

    def process(self, delivery: Delivery, *, admitted: bool = False) -> None:
        """Bring a delivery to its end, or park it until its type's limits have room. Never raises.

        Args:
            admitted: whether it was parked before and has its room now.
        """
        task: TaskMessage | None = None
        try:
            task = self._read(delivery)
            handler = self._registry.get(task.task_type)
            if handler is None:
                self._give_up(delivery, task.task_id, f"unknown task type: {task.task_type}")
            elif admitted or self._limits.admit(handler, delivery):
                try:
                    self._attempt(delivery, task, handler)
                finally:
                    self._limits.leave(handler)
        except MalformedMessage as error:
            self._give_up_malformed(delivery, str(error))
        except Stopping:
            if task is not None:
                delivery.hand_over(task.task_id)
            else:
                delivery.nack()
        except Exception:  # noqa: BLE001
            # A mistake of ours must not end the thread, nor lose the message: it comes again, and dies in the end.
            _log.exception("the worker failed on a message", message_id=delivery.message_id)
            delivery.nack()

    def parked(self) -> list[Delivery]:
        """Take back the deliveries that wait for room: nothing is resumed any more."""
        return self._limits.close()

    def return_unstarted(self, delivery: Delivery) -> None:
        """Give back a delivery that no thread has taken up."""
        try:
            task = self._read(delivery)
        except MalformedMessage:
            delivery.nack()
        else:
            delivery.hand_over(task.task_id)

    def _read(self, delivery: Delivery) -> TaskMessage:
        return decode(
            delivery.data,
            delivery.attributes,
            queue=delivery.queue,
            message_id=delivery.message_id,
            published_at=delivery.published_at,
            task_ids=self._task_ids,
        )

    def _attempt(self, delivery: Delivery, task: TaskMessage, handler: Handler) -> None:
        queue = self._topology.by_name[task.queue]
        stored = self._claim(delivery, task, handler, lease_s=queue.ack_deadline_s)
        if stored is None:
            return
        running = RunningTask(
            stored,
            handler,
            started_s=time.monotonic(),
            store=self._records if handler.record else None,
            lease_s=queue.ack_deadline_s,
        )
        context = Context(
            running,
            store=self._store,
            registry=self._registry,
            default_queue=self._topology.default_queue.name,
            queues=self._topology.by_name,
            task_ids=self._task_ids,
            now=self._now,
        )
        settlement = _Settlement()
        if not handler.cpu and not handler.is_async:
            thread_id = threading.get_ident()
            running.abandon_handler = lambda: self._abandon(settlement, delivery, running, context, thread_id)
        self._keeper.add(running)
        try:
            end = self._run(running, context)
        finally:
            self._keeper.remove(running)
        if settlement.claim():
            self._settle(delivery, running, context, end)

    def _claim(self, delivery: Delivery, task: TaskMessage, handler: Handler, *, lease_s: float) -> Stored | None:
        """The claimed record; None if the delivery has been brought to its end without a new attempt."""
        max_attempts = handler.max_attempts or self._topology.by_name[task.queue].max_attempts
        owner = secrets.token_hex(8)
        current: Stored | None = None
        if not handler.record:
            run = records.claim(
                None, task, owner=owner, worker=self._worker_name, now=self._now(), lease_s=0, max_attempts=max_attempts
            )
            assert isinstance(run, Run)
            return Stored(run.record, ABSENT)
        if delivery.attempt > 1:  # most likely there is a record: spare the write that would fail
            current = self._durably(lambda: self._records.read(task.task_id))
        while True:
            decision = records.claim(
                current.record if current else None,
                task,
                owner=owner,
                worker=self._worker_name,
                now=self._now(),
                lease_s=lease_s,
                max_attempts=max_attempts,
            )
            generation = current.generation if current else ABSENT
            if isinstance(decision, Finished):
                self.counts.add("duplicates")
                self._close(delivery, decision.record)
                return None
            if isinstance(decision, Held | Early):
                delivery.defer(max(0.0, (decision.until - self._now()).total_seconds()))
                return None
            assert isinstance(decision, Run | Exhausted)
            record = decision.record
            try:
                stored = self._durably(partial(self._records.write, record, if_generation=generation))
            except PreconditionFailed:
                current = self._durably(lambda: self._records.read(task.task_id))
                continue
            if isinstance(decision, Run):
                return stored
            self.counts.add("cancelled" if record.status is Status.CANCELLED else "dead")
            self._close(delivery, record)
            return None

    def _run(self, running: RunningTask, context: Context) -> _End:
        record = running.record
        try:
            payload = running.handler.parse(record.payload)
        except ValidationError as error:
            return _Refused(_invalid(error), ErrorInfo(type="ValidationError", message=_invalid(error)))
        try:
            value = self._executor.run(running, payload, context)
            return _Returned(*_encode(value))
        except Reject as error:
            return _Refused(error.reason, ErrorInfo(type="Reject", message=error.reason))
        except Retry as error:
            return _Failed(_error_info(error), error.after_s)
        except TaskCancelled:
            return _Cancelled()
        except WorkerStopping:
            return _Stopped()
        except LeaseLost:
            return _Lost()
        except TaskTimeout as error:
            return _Failed(_error_info(error, message=str(running.interruption or error)), None)
        except ServiceUnavailable as error:
            return _Failed(_error_info(error), None)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            context.log.warning("the attempt failed", error=f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS])
            return _Failed(_error_info(error), None)

    def _settle(self, delivery: Delivery, running: RunningTask, context: Context, end: _End) -> None:
        try:
            self._settle_durably(delivery, running, context, end)
        except LeaseLost:
            self.counts.add("duplicates")
            delivery.defer(running.lease_s)
        except Stopping:
            # The record still says running: whoever gets the message waits for the lease, then starts the next attempt.
            delivery.nack()

    def _settle_durably(self, delivery: Delivery, running: RunningTask, context: Context, end: _End) -> None:
        now = self._now
        if isinstance(end, _Returned):
            result, result_object = self._keep_result(running, end)
            record = self._finish(
                running,
                lambda record: records.succeeded(
                    record,
                    now=now(),
                    result=result,
                    result_object=result_object,
                    follow_ups=tuple(context.follow_ups),
                    progress=running.progress,
                ),
            )
            self.counts.add("succeeded")
            self._close(delivery, record)
        elif isinstance(end, _Refused):
            record = self._finish(
                running, lambda record: records.failed(record, error=end.error, reason=end.reason, now=now())
            )
            self.counts.add("failed")
            self._close(delivery, record)
        elif isinstance(end, _Cancelled):
            record = self._finish(running, lambda record: records.cancelled(record, now=now()))
            self.counts.add("cancelled")
            self._close(delivery, record)
        elif isinstance(end, _Stopped):
            self._finish(running, lambda record: records.stopped(record, now=now()))
            self.counts.add("stopped")
            delivery.hand_over(running.record.task_id)
        elif isinstance(end, _Lost):
            raise LeaseLost("another worker has it")
        else:
            self._retry_or_die(delivery, running, end)

    def _retry_or_die(self, delivery: Delivery, running: RunningTask, end: _Failed) -> None:
        handler = running.handler
        limit = handler.max_attempts or self._topology.by_name[running.record.queue].max_attempts
        attempts = running.record.counted_attempts if running.recorded else delivery.attempt
        if attempts >= limit:
            reason = f"all {attempts} attempts used up; the last one: {end.error.type}: {end.error.message}"
            record = self._finish(
                running, lambda record: records.died(record, reason=reason, now=self._now(), error=end.error)
            )
            self.counts.add("dead")
            self._close(delivery, record)
            return
        retry_at = None if end.after_s is None else self._now() + timedelta(seconds=end.after_s)
        self._finish(
            running, lambda record: records.retried(record, error=end.error, now=self._now(), retry_at=retry_at)
        )
        self.counts.add("retried")
        if end.after_s is None:
            delivery.nack()
        else:
            delivery.defer(end.after_s)

    def _finish(self, running: RunningTask, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        return self._durably(lambda: running.finish(change))

    def _close(self, delivery: Delivery, record: TaskRecord) -> None:
        """Publish what a final record asks for, then ack. Done again for a duplicate: all of it is idempotent."""
        if record.status is Status.SUCCEEDED:
            waiting = [
                self._publisher.submit(
                    TaskMessage(
                        task_id=follow_up.task_id,
                        task_type=follow_up.task_type,
                        submitted_at=record.updated_at,
                        queue=follow_up.queue,
                        payload=follow_up.payload,
                    )
                )
                for follow_up in record.follow_ups
            ]
            try:
                for future in waiting:
                    future.result()
            except QueueUnavailable:
                delivery.nack()
                return
        elif record.status in {Status.FAILED, Status.DEAD} and record.discarded_at is None:
            self._give_up(delivery, record.task_id, record.reason or "")
            return
        delivery.ack()

    def _give_up_malformed(self, delivery: Delivery, reason: str) -> None:
        task_id = self._task_ids.derive(f"message {delivery.queue} {delivery.message_id}", delivery.published_at)
        self.counts.add("dead")
        try:
            self._give_up(delivery, task_id, reason)
        except Stopping:
            delivery.nack()

    def _give_up(self, delivery: Delivery, task_id: str, reason: str) -> None:
        """Send the message to the dead letters, then ack."""
        attributes = attributes_for(
            delivery.attributes,
            task_id=task_id,
            reason=reason,
            message_id=delivery.message_id,
            published_at=delivery.published_at,
        )
        self._durably(lambda: self._publisher.dead_letter(delivery.queue, delivery.data, attributes).result())
        delivery.ack()

    def _keep_result(self, running: RunningTask, end: _Returned) -> tuple[Any, ResultObject | None]:
        """The result for the record, and the object that holds it where it is large or wanted as a file."""
        handler = running.handler
        small = len(end.encoded) <= INLINE_RESULT_BYTES
        inline = end.value if small else None
        if small and handler.result_file is None:
            return inline, None
        name = names.result(handler.result_file or handler.task_type, running.record.task_id)
        size_bytes = len(end.encoded)

        def write() -> tuple[Any, ResultObject]:
            try:
                self._store.put(name, end.encoded, if_generation=ABSENT)
            except PreconditionFailed:
                # An earlier attempt, or our own lost answer, wrote it: that one is the result.
                data, info = self._store.get(name)
                kept = json.loads(data) if info.size_bytes <= INLINE_RESULT_BYTES else None
                return kept, ResultObject(name=name, size_bytes=info.size_bytes)
            return inline, ResultObject(name=name, size_bytes=size_bytes)

        return self._durably(write)

    def _durably(self, call: Callable[[], _Answer]) -> _Answer:
        """Repeat a call until the service behind it answers; raises `Stopping` when the worker stops first."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return call()
            except (StoreUnavailable, QueueUnavailable) as error:
                _log.warning("waiting for a service", error=str(error), wait_s=wait_s)
                if self._stopping.wait(wait_s):
                    raise Stopping from error
                wait_s = min(LONGEST_WAIT_S, wait_s * 2)

    def _abandon(
        self, settlement: _Settlement, delivery: Delivery, running: RunningTask, context: Context, thread_id: int
    ) -> None:
        """The handler heeds no interruption: its attempt ends without it, and its thread is written off."""
        if settlement.claim():
            self._keeper.remove(running)
            self._on_abandoned(thread_id)
            stopping = isinstance(running.interruption, WorkerStopping)
            end = _Stopped() if stopping else _Failed(_error_info(running.interruption or TaskTimeout()), None)
            self._settle(delivery, running, context, end)


class _Settlement:
    """Who may bring an attempt to its end: the first to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def claim(self) -> bool:
        return self._lock.acquire(blocking=False)


@dataclass(frozen=True)
class _Returned:
    value: Any
    encoded: bytes


@dataclass(frozen=True)
class _Refused:
    reason: str
    error: ErrorInfo


@dataclass(frozen=True)
class _Failed:
    error: ErrorInfo
    after_s: float | None


@dataclass(frozen=True)
class _Cancelled:
    pass


@dataclass(frozen=True)
class _Stopped:
    pass


@dataclass(frozen=True)
class _Lost:
    pass


_End = _Returned | _Refused | _Failed | _Cancelled | _Stopped | _Lost


def _encode(value: Any) -> tuple[Any, bytes]:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return value, json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _error_info(error: BaseException, *, message: str | None = None) -> ErrorInfo:
    if isinstance(error, HandlerError):
        lines = error.traceback.splitlines()
        type_name = error.type_name
    else:
        lines = "".join(traceback.format_exception(error)).splitlines()
        type_name = type(error).__name__
    return ErrorInfo(
        type=type_name,
        message=(message or str(error))[:ERROR_CHARACTERS],
        traceback="\n".join(lines[-TRACEBACK_LINES:]),
    )


def _invalid(error: ValidationError) -> str:
    problems = (f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in error.errors())
    return "invalid payload: " + "; ".join(problems)
