"""Keeps what arrives on the dead-letter subscriptions; see `poolhouse.pipeline.dead_letters`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from poolhouse.pipeline.dead_letters import DeadLetterBox
from poolhouse.pipeline.errors import Conflict, StoreUnavailable
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.task_ids import TaskIds
from poolhouse.pipeline.topology import Topology
from poolhouse.worker.runtime.delivery import Delivery

#: Wait before another look at a dead letter whose task is being run, or that storage did not take, in seconds.
AGAIN_AFTER_S = 10

_log = structlog.get_logger(__name__)


class DeadLetterKeeper:
    """Brings each message of a dead-letter subscription into the box."""

    def __init__(
        self, store: ObjectStore, *, topology: Topology, task_ids: TaskIds, now: Callable[[], datetime]
    ) -> None:
        self._box = DeadLetterBox(store, queues=tuple(topology.by_name), task_ids=task_ids)
        self._now = now

    def process(self, delivery: Delivery) -> None:
        """Keep the message, or let it come again. Never raises."""
        try:
            kept = self._box.keep(
                delivery.queue,
                delivery.data,
                delivery.attributes,
                message_id=delivery.message_id,
                now=self._now(),
            )
        except (Conflict, StoreUnavailable) as error:
            _log.info("a dead letter waits", message_id=delivery.message_id, why=str(error))
            delivery.defer(AGAIN_AFTER_S)
        except Exception:  # noqa: BLE001
            # A mistake of ours must not lose the message: it stays in the subscription.
            _log.exception("the worker failed on a dead letter", message_id=delivery.message_id)
            delivery.nack()
        else:
            if kept:
                _log.warning("a task is dead", task_id=delivery.attributes.get("task_id"), queue=delivery.queue)
            delivery.ack()
