"""One delivery of one message, as the runtime sees it: a thin cover of the client library's message."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Protocol

from google.cloud.pubsub_v1.subscriber.message import Message

from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.dead_letter_attributes import earlier_deliveries

#: Pub/Sub, ModifyAckDeadline: the longest deadline, in whole seconds.
MAX_DEFER_S = 600


class Delivery(Protocol):
    """A message held by this worker: exactly one of the last four ends that."""

    @property
    def queue(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def attributes(self) -> Mapping[str, str]: ...
    @property
    def message_id(self) -> str: ...
    @property
    def published_at(self) -> datetime: ...
    @property
    def attempt(self) -> int:
        """How often this message was delivered, from 1, by Pub/Sub's count; approximate."""

    def ack(self) -> None:
        """Done: never deliver it again."""

    def nack(self) -> None:
        """Not done: deliver it again, after the queue's backoff."""

    def defer(self, seconds: float) -> None:
        """Not now: deliver it again in about so many seconds, `MAX_DEFER_S` at the most."""

    def hand_over(self, task_id: str) -> None:
        """Not here: another worker may have this task at once, without backoff."""


class PubSubDelivery:
    """`Delivery` of the client library's streaming pull."""

    def __init__(
        self,
        message: Message,
        queue: str,
        republish: Callable[[str, bytes, Mapping[str, str]], Future[str]],
        *,
        on_end: Callable[[], None],
    ) -> None:
        """Hold a message.

        Args:
            message: the client library's.
            queue: the name of its queue.
            republish: publishes a copy to a queue.
            on_end: called once the client library knows how the delivery ended.
        """
        self._message = message
        self._queue = queue
        self._republish = republish
        self._on_end = on_end

    @property
    def queue(self) -> str:
        return self._queue

    @property
    def data(self) -> bytes:
        return bytes(self._message.data)

    @property
    def attributes(self) -> Mapping[str, str]:
        return dict(self._message.attributes)

    @property
    def message_id(self) -> str:
        return str(self._message.message_id)

    @property
    def published_at(self) -> datetime:
        at: datetime = self._message.publish_time
        return at

    @property
    def attempt(self) -> int:
        return earlier_deliveries(self._message.attributes) + (self._message.delivery_attempt or 1)

    def ack(self) -> None:
        self._message.ack()
        self._on_end()

    def nack(self) -> None:
        self._message.nack()
        self._on_end()

    def defer(self, seconds: float) -> None:
        # A whole number: the client library fails on any other, and with it loses the acks that it sends together.
        deadline_s = MAX_DEFER_S if seconds >= MAX_DEFER_S else max(1, math.ceil(seconds))
        self._message.modify_ack_deadline(deadline_s)
        self._message.drop()  # the client library would go on extending the lease
        self._on_end()

    def hand_over(self, task_id: str) -> None:
        """Publish a copy, then ack: a nack would wait out the retry policy's backoff and count as a failed delivery.

        A worker that dies in between leaves two copies of one task, which the record recognises as one.
        """
        copy = self._republish(self._queue, self.data, {**self.attributes, "task_id": task_id})

        def published(future: Future[Any]) -> None:
            if future.exception() is None:
                self.ack()
            else:
                self.nack()

        copy.add_done_callback(published)


class DeliveryOfTask:
    """`Delivery` of a task that the message in hand only stands for, such as an event of the bucket."""

    def __init__(self, delivery: Delivery, task: TaskMessage) -> None:
        """Cover a delivery.

        Args:
            delivery: of the message.
            task: what it stands for.
        """
        self.queue = delivery.queue
        self.data = task.data()
        self.attributes = {**delivery.attributes, **task.attributes()}
        self.message_id = delivery.message_id
        self.published_at = delivery.published_at
        self.attempt = delivery.attempt
        self.ack = delivery.ack
        self.nack = delivery.nack
        self.defer = delivery.defer
        # A copy of the message: the worker that receives it makes the same task of it.
        self.hand_over = delivery.hand_over
