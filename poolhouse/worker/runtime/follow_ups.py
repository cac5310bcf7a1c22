"""Sending what follows the end of a task, so that none of it is lost.

The task has ended, and can't report a failure any more. So a follow-up whose queue is gone goes to another,
and one that Pub/Sub refuses to the dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from datetime import datetime

import structlog

from poolhouse.pipeline.errors import MessageRefused
from poolhouse.pipeline.hooks import TaskInfo
from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.dead_letter import Verdict
from poolhouse.pipeline.tasks.dead_letter_attributes import attributes_for
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.worker.runtime.services import Services

_log = structlog.get_logger(__name__)


class FollowUps:
    """Sends follow-ups. Every call may raise `StoreUnavailable`. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._topology = services.topology
        self._registry = services.registry
        self._publisher = services.publisher
        self._hooks = services.hooks
        self._timers = Timers(services.store)
        self._box = DeadLetterStore(services.store, queues=tuple(services.topology.by_name), task_ids=services.task_ids)

    def placed(self, task: TaskMessage) -> TaskMessage:
        """The task in a queue that there is; see `Registry.placed`."""
        placed = self._registry.placed(task, self._topology)
        if placed is not task:
            _log.warning("a follow-up's queue is gone", task_id=task.task_id, gone=task.queue, queue=placed.queue)
        return placed

    def send(self, task: TaskMessage, *, now: datetime) -> Future[str]:
        """Send a task to its queue; as `Timers.send`."""
        return self._timers.send(task, self._publisher, now=now)

    def refused(self, task: TaskMessage, error: MessageRefused, *, now: datetime) -> Verdict:
        """Let a task that Pub/Sub will never take be dead, with that for its reason; again changes nothing.

        Raises:
            Conflict: its record, or its dead letter, is just being changed: call again later.
        """
        reason = f"it could not be submitted: {error}"
        attributes = attributes_for(
            task.attributes(), task_id=task.task_id, reason=reason, message_id="", published_at=task.submitted_at
        )
        verdict = self._box.keep(task.queue, task.data(), attributes, message_id="", now=now)
        _log.error("a follow-up can't be submitted", task_id=task.task_id, task_type=task.task_type, error=str(error))
        self.notify_death(verdict)
        return verdict

    def notify_death(self, verdict: Verdict) -> None:
        """Call the hooks for a task that a dead letter has ended just now."""
        if self._hooks and verdict.record is not None and verdict.ended:
            info = TaskInfo.of(verdict.record, trace=trace.context(verdict.attributes))
            self._hooks.of(info.task_type).on_death(info, verdict.record.reason or "")


def refusals(sent: Iterable[tuple[TaskMessage, Future[str]]]) -> list[tuple[TaskMessage, MessageRefused]]:
    """Wait for messages; returns those that Pub/Sub will never take. Raises `QueueUnavailable`."""
    found = []
    for task, future in sent:
        try:
            future.result()
        except MessageRefused as error:
            found.append((task, error))
    return found
