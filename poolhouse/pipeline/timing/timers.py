"""Tasks that wait for a time: at once in Pub/Sub where the time is near, in the bucket where it is not.

A message can be put off for ten minutes at most (Pub/Sub, ModifyAckDeadline), and each time counts as a delivery. So a
longer wait is a *timer*: the whole message as an object `timers/DAY/TIME-ID.json`, written once. The timer
loop (`poolhouse.worker.timer_loop`) lists the first of them, publishes what comes due within the next minutes with its
time in an attribute, and deletes it. The worker puts off the rest of the wait, to the second.

A timer decides nothing: it only wakes the task. One that is fired twice, or fired though its task was cancelled or runs
already, makes a message that the task's record recognises as such.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import MessageRefused, ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.messaging.message import NOT_BEFORE, TaskMessage, format_time
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.tasks import large_values
from poolhouse.pipeline.timing.delays import SHORT_WAIT_S, seconds_until

#: Timers fired at the same time: each is three calls, one after the other.
_AT_A_TIME = 16
#: Timers listed by one call.
_PAGE = 500

_log = structlog.get_logger(__name__)


class Timer(BaseModel):
    """A message that waits for its time."""

    model_config = ConfigDict(frozen=True)

    queue: str
    not_before: datetime
    #: The message's body; base64, since it may be any bytes.
    data_base64: bytes
    attributes: dict[str, str]


class Timers:
    """The timers of a deployment. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        #: Timers that can't be fired, so that each is reported once.
        self._broken: set[str] = set()

    def put(
        self, queue: str, data: bytes, attributes: Mapping[str, str], *, task_id: str, not_before: datetime
    ) -> None:
        """Keep a message until its time; again, with the same time, changes nothing."""
        timer = Timer(
            queue=queue,
            not_before=not_before,
            data_base64=base64.b64encode(data),
            attributes={**attributes, "task_id": task_id, NOT_BEFORE: format_time(not_before)},
        )
        with contextlib.suppress(PreconditionFailed):
            self._store.put(names.timer(not_before, task_id), timer.model_dump_json().encode(), if_generation=ABSENT)

    def remove(self, task_id: str, *, not_before: datetime) -> None:
        """Delete a timer that has no task to wake any more. One that stays would wake its task in vain, no more."""
        self._store.delete(names.timer(not_before, task_id))

    def send(self, task: TaskMessage, publisher: Publisher, *, now: datetime) -> Future[str]:
        """Publish a task now, or keep it until its time where that is far; its large payload is written before.

        Returns:
            A future as `Publisher.submit`'s; an empty id where the bucket has the task.
        """
        if task.payload_object is not None and task.payload_data is not None:
            large_values.write(self._store, task.payload_object, task.payload_data)
            task = replace(task, payload_data=None)
        elif task.payload_object is not None and not task.payload and publisher.needs_payload(task):
            with contextlib.suppress(large_values.ValueLost):  # which its attempt ends with
                task = replace(task, payload=large_values.read(self._store, task.payload_object))
        if task.not_before is None or seconds_until(task.not_before, now=now) <= SHORT_WAIT_S:
            return publisher.submit(task)
        self.put(
            task.queue, task.data(), publisher.attributes_of(task), task_id=task.task_id, not_before=task.not_before
        )
        kept: Future[str] = Future()
        kept.set_result("")
        return kept

    def fire(self, publisher: Publisher, *, until: datetime) -> int:
        """Publish the messages whose time comes by `until`, the earliest first; returns how many.

        What the queue does not take stays, and is fired the next time.

        Raises:
            QueueUnavailable: the queue does not take them.
        """
        fired = 0
        with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="timers") as threads:
            for batch in self._due(until):
                fired += sum(threads.map(lambda name: self._fire(name, publisher), batch))
        return fired

    def _due(self, until: datetime) -> Iterator[list[str]]:
        """The names of the timers due by `until`, in batches; reads one page beyond them at the most."""
        token: str | None = None
        while True:
            page = self._store.list(names.TIMERS, page_size=_PAGE, page_token=token)
            due: list[str] = []
            for info in page.objects:
                due_at = names.timer_due_at(info.name)
                if due_at is None:
                    self._report(info.name, "its name tells no time")
                elif due_at <= until:
                    due.append(info.name)
                else:
                    page_ends = True
                    break
            else:
                page_ends = False
            due = [name for name in due if name not in self._broken]
            if due:
                yield due
            token = page.next_token
            if page_ends or token is None:
                return

    def _fire(self, name: str, publisher: Publisher) -> bool:
        try:
            data, _ = self._store.get(name)
        except ObjectNotFound:
            return False  # another has fired it
        try:
            timer = Timer.model_validate_json(data)
            body = base64.b64decode(timer.data_base64, validate=True)
            publisher.publish_raw(timer.queue, body, timer.attributes).result()
        except (ValidationError, ValueError, KeyError, MessageRefused) as error:
            self._report(name, str(error))
            return False
        self._store.delete(name)
        return True

    def _report(self, name: str, problem: str) -> None:
        if name not in self._broken:
            self._broken.add(name)
            _log.error("a timer can't be fired: mend or delete the object", timer=name, error=problem)
