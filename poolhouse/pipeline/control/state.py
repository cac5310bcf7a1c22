"""What is decided about the queues: which are paused, and which waiting tasks are not to start. Pure.

A task that waits in Pub/Sub has no record, so no listing finds it, and no call can cancel it. A *cancel order* is kept
for it instead: a worker that meets the task cancels it. Orders are kept until no message of such a task can be left in
a queue.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.errors import Conflict
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.records import Status, TaskRecord

#: Orders kept at the same time: workers look at each of them for each task.
MOST_ORDERS = 100


class CancelOrder(BaseModel):
    """Tasks that waited at a moment and are not to start: none of them begins an attempt after it is known."""

    model_config = ConfigDict(frozen=True)

    #: When it was given.
    at: datetime
    queue: str | None = None
    task_type: str | None = None
    #: Only tasks submitted at this time or later.
    after: datetime | None = None
    #: Only tasks submitted before this time.
    before: datetime
    #: What they waited for: `queued`, a worker; `scheduled`, a time.
    status: frozenset[Status]
    #: Goes into their records.
    reason: str

    def concerns(self, task: TaskMessage) -> bool:
        """Return whether a task may be meant: its record tells."""
        return (
            self.queue in {None, task.queue}
            and self.task_type in {None, task.task_type}
            and task.submitted_at < self.before
            and (self.after is None or task.submitted_at >= self.after)
        )

    def applied(self, record: TaskRecord | None, task: TaskMessage, *, now: datetime) -> TaskRecord | None:
        """Return the record of a task that is cancelled; None where it did not wait when the order was given.

        Args:
            record: the task's record; None if there is none.
            task: a task that the order concerns.
            now: the time.
        """
        not_before = None if task.put_off else task.not_before
        if record is not None:
            not_before = record.not_before
            last = record.attempts[-1] if record.attempts else None
            if record.status.final or (record.replayed_at and record.replayed_at[-1] > self.at):
                return None
            if last is not None and (last.ended_at is None or last.ended_at > self.at):
                return None  # it ran then, or began later
        waited = Status.SCHEDULED if not_before is not None and not_before > self.at else Status.QUEUED
        if waited not in self.status:
            return None
        return transitions.cancelled(record or transitions.fresh(task, now=now), now=now, reason=self.reason)

    def over(self, now: datetime, *, keep: timedelta) -> bool:
        """Return whether no message of a task that is meant can be left: each stays in a queue for `keep`."""
        return now - self.at >= keep

    def covers(self, other: CancelOrder) -> bool:
        """Return whether an earlier order is not needed beside this one."""
        same = (self.queue, self.task_type, self.after) == (other.queue, other.task_type, other.after)
        return same and self.status >= other.status and self.before >= other.before and self.at >= other.at


class QueueControl(BaseModel):
    """All that is decided."""

    model_config = ConfigDict(frozen=True)

    #: Since when queues are paused, by name.
    paused: dict[str, datetime] = {}
    #: The newest first.
    orders: tuple[CancelOrder, ...] = ()

    def pause(self, queue: str, *, now: datetime) -> QueueControl:
        """Return it with a queue paused; one that is paused keeps its time."""
        return self.model_copy(update={"paused": {queue: now, **self.paused}})

    def resume(self, queue: str) -> QueueControl:
        """Return it with a queue that runs."""
        return self.model_copy(update={"paused": {name: at for name, at in self.paused.items() if name != queue}})

    def order(self, order: CancelOrder, *, keep: timedelta) -> QueueControl:
        """Return it with one order more, without those that are over.

        Args:
            order: the new one.
            keep: how long a message may stay in a queue.

        Raises:
            Conflict: there are too many.
        """
        left = [old for old in self.orders if not order.covers(old) and not old.over(order.at, keep=keep)]
        if len(left) >= MOST_ORDERS:
            raise Conflict(
                f"{MOST_ORDERS} bulk cancels with other filters may still meet tasks in the queues: cancel by queue or "
                "task type alone, which takes the place of earlier ones"
            )
        return self.model_copy(update={"orders": (order, *left)})

    def concerning(self, task: TaskMessage, *, now: datetime, keep: timedelta) -> tuple[CancelOrder, ...]:
        """Return the orders that may mean a task; none for nearly all tasks.

        Args:
            task: the task.
            now: the time.
            keep: as in `order`.
        """
        return tuple(order for order in self.orders if order.concerns(task) and not order.over(now, keep=keep))


#: Nothing is decided.
NOTHING = QueueControl()
