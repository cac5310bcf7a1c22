"""Deliveries that are notifications of new files: each becomes the tasks of pipeline.toml's triggers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from poolhouse.pipeline.errors import ServiceUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.object_events import tasks_of
from poolhouse.worker.runtime.delivery import Delivery, DeliveryOfTask
from poolhouse.worker.runtime.services import Services

_log = structlog.get_logger(__name__)


class ObjectEvents:
    """Brings deliveries to their end that `poolhouse.pipeline.messaging.object_events` takes for events of objects."""

    def __init__(self, services: Services) -> None:
        """Nothing is called yet."""
        self._services = services

    def process(self, delivery: Delivery, *, run: Callable[[Delivery], None]) -> None:
        """Run the one task that is for this queue here, and send others to their queues.

        Args:
            delivery: of an event.
            run: takes deliveries of tasks.

        Raises:
            MalformedMessage: the event is none of this pipeline's bucket.
        """
        services = self._services
        tasks = [
            services.hooks.submitting(task)
            for task in tasks_of(
                delivery.attributes, services.topology, bucket=services.bucket, task_ids=services.task_ids
            )
        ]
        # A task of a fair queue goes round by its topics, where it takes its tenant's turn.
        fair = services.topology.by_name[delivery.queue].fair_by is not None
        if len(tasks) == 1 and tasks[0].queue == delivery.queue and not fair:
            run(DeliveryOfTask(delivery, tasks[0]))
        else:
            self._publish(delivery, tasks)

    def _publish(self, delivery: Delivery, tasks: Sequence[TaskMessage]) -> None:
        """Send the tasks to their queues: the event is done once they are there."""
        try:
            for future in [self._services.publisher.submit(task) for task in tasks]:
                future.result()
        except ServiceUnavailable as error:
            _log.info("tasks of a file wait for their queue", object=delivery.attributes["objectId"], why=str(error))
            delivery.nack()
        else:
            delivery.ack()
