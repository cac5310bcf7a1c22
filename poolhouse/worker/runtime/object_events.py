"""Deliveries that tell of a new file: each becomes the tasks that pipeline.toml's triggers want."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from poolhouse.pipeline.errors import MalformedMessage, ServiceUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.object_events import is_object_event, tasks_of
from poolhouse.worker.runtime.delivery import Delivery, PubSubDelivery
from poolhouse.worker.runtime.services import Services

_log = structlog.get_logger(__name__)


class ObjectEvents:
    """Stands before `Attempts.process` where pipeline.toml has triggers."""

    def __init__(self, services: Services, *, bucket: str, process: Callable[[Delivery], None]) -> None:
        """Nothing is called yet.

        Args:
            services: queues, handlers and ids.
            bucket: the pipeline's own.
            process: takes deliveries of tasks.
        """
        self._services = services
        self._bucket = bucket
        self._process = process

    def process(self, delivery: Delivery) -> None:
        """Bring any delivery to its end, or let `process` do it. Never raises."""
        if not is_object_event(delivery.attributes):
            self._process(delivery)
            return
        try:
            tasks = tasks_of(
                delivery.attributes, self._services.topology, bucket=self._bucket, task_ids=self._services.task_ids
            )
        except MalformedMessage:
            self._process(delivery)  # which says what is wrong with it, in a dead letter
            return
        if len(tasks) == 1 and tasks[0].queue == delivery.queue and isinstance(delivery, PubSubDelivery):
            self._process(delivery.of(tasks[0]))
        else:
            self._publish(delivery, tasks)

    def _publish(self, delivery: Delivery, tasks: tuple[TaskMessage, ...]) -> None:
        """Send the tasks to their queues: the event is done once they are there."""
        try:
            for future in [self._services.publisher.submit(task) for task in tasks]:
                future.result()
        except ServiceUnavailable as error:
            _log.info("a file's tasks wait for their queue", object=delivery.attributes["objectId"], why=str(error))
            delivery.nack()
        else:
            delivery.ack()
