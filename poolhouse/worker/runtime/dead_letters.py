"""Keeps what arrives on the dead-letter subscriptions; see `poolhouse.pipeline.tasks.dead_letters`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import Conflict, ServiceUnavailable
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore, Kept
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.worker.registry import Registry
from poolhouse.worker.runtime.delivery import Delivery

#: Wait before another look at a dead letter whose task is being run, or that a service did not take, in seconds.
AGAIN_AFTER_S = 3
#: The same after a mistake of ours, which another look is not likely to mend.
AGAIN_AFTER_MISTAKE_S = 300

_log = structlog.get_logger(__name__)


class DeadLetterKeeper:
    """Brings each message of a dead-letter subscription into the box, or back to its queue."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        topology: Topology,
        registry: Registry,
        publisher: Publisher,
        task_ids: TaskIds,
        now: Callable[[], datetime],
    ) -> None:
        def unrecorded_attempts(task_type: str, queue: str) -> int:
            handler = registry.get(task_type)
            if handler is None or handler.record:
                return 0
            return handler.attempts_in(topology.by_name[queue])

        self._box = DeadLetterStore(
            store, queues=tuple(topology.by_name), task_ids=task_ids, unrecorded_attempts=unrecorded_attempts
        )
        self._publisher = publisher
        self._now = now

    def process(self, delivery: Delivery) -> None:
        """Keep the message, or let it come again. Never raises."""
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
            elif verdict.kept is Kept.BACK:
                _log.info("a task that Pub/Sub gave up has attempts left", task_id=verdict.task_id)
            delivery.ack()
