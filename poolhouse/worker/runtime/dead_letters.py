"""Keeps what arrives on the dead-letter subscriptions; see `poolhouse.pipeline.tasks.dead_letters`."""

from __future__ import annotations

import contextlib

import structlog

from poolhouse.pipeline.errors import Conflict, MalformedMessage, ServiceUnavailable
from poolhouse.pipeline.messaging.object_events import is_object_event
from poolhouse.pipeline.tasks.after_end import tasks_after
from poolhouse.pipeline.tasks.dead_letter import Kept, Verdict
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.worker.runtime.delivery import Delivery
from poolhouse.worker.runtime.follow_ups import FollowUps, refusals
from poolhouse.worker.runtime.object_events import ObjectEvents
from poolhouse.worker.runtime.services import Services

#: Wait before another look at a dead letter whose task is being run, or that a service did not take, in seconds.
AGAIN_AFTER_S = 3
#: The same after a mistake of ours, which another look is not likely to mend.
AGAIN_AFTER_MISTAKE_S = 300

_log = structlog.get_logger(__name__)


class DeadLetterKeeper:
    """Brings each message of a dead-letter subscription into the box, or back to its queue."""

    def __init__(self, services: Services) -> None:
        topology, registry = services.topology, services.registry

        def unrecorded_attempts(task_type: str, queue: str) -> int:
            handler = registry.get(task_type)
            if handler is None or handler.record:
                return 0
            return handler.attempts_in(topology.by_name[queue])

        self._box = DeadLetterStore(
            services.store,
            queues=tuple(topology.by_name),
            task_ids=services.task_ids,
            unrecorded_attempts=unrecorded_attempts,
        )
        self._publisher = services.publisher
        self._object_events = ObjectEvents(services)
        self._now = services.now
        self._follow_ups = FollowUps(services)
        self._after_end = services.after_end
        self._inline_bytes = topology.payloads.inline_bytes
        self._hooks = services.hooks

    def process(self, delivery: Delivery) -> None:
        """Keep the message, or let it come again. Never raises."""
        if is_object_event(delivery.attributes):
            # Of a file that no worker came to the end with: what is dead is the task that it starts.
            with contextlib.suppress(MalformedMessage):
                self._object_events.process(delivery, run=self._keep)
                return
        self._keep(delivery)

    def _keep(self, delivery: Delivery) -> None:
        try:
            verdict = self._box.keep(
                delivery.queue,
                delivery.data,
                delivery.attributes,
                message_id=delivery.message_id,
                now=self._now(),
            )
            if verdict.kept is Kept.BACK:
                self._publisher.publish_raw(delivery.queue, delivery.data, verdict.attributes).result()
            elif verdict.record is not None:
                self._publish_following(verdict, verdict.record)
        except (Conflict, ServiceUnavailable) as error:
            _log.info("a dead letter waits", message_id=delivery.message_id, why=str(error))
            delivery.defer(AGAIN_AFTER_S)
        except Exception:  # noqa: BLE001
            # A mistake of ours must not lose the message, which stays in the subscription, nor make the loop spin.
            _log.exception("the worker failed on a dead letter", message_id=delivery.message_id)
            delivery.defer(AGAIN_AFTER_MISTAKE_S)
        else:
            if verdict.kept is Kept.KEPT:
                _log.warning("a task is dead", task_id=verdict.task_id, queue=delivery.queue)
                self._follow_ups.notify_death(verdict)
            elif verdict.kept is Kept.BACK:
                _log.info("a task that Pub/Sub gave up has attempts left", task_id=verdict.task_id)
            delivery.ack()

    def _publish_following(self, verdict: Verdict, record: TaskRecord) -> None:
        """Publish what follows the end of a task that Pub/Sub, or a worker, gave up."""
        now = self._now()
        following = tasks_after(record, self._after_end, inline_bytes=self._inline_bytes, attributes=verdict.attributes)
        tasks = [self._follow_ups.placed(task) for task in following]
        if verdict.ended:  # else a worker has called the hooks, or this is a copy of the message
            tasks = [self._hooks.submitting(task) for task in tasks]
        for task, error in refusals([(task, self._follow_ups.send(task, now=now)) for task in tasks]):
            refused = self._follow_ups.refused(task, error, now=now)
            if refused.record is not None:
                self._publish_following(refused, refused.record)
