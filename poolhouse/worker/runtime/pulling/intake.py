"""What a worker makes of the messages that its streams bring: tasks are attempted, dead letters are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from google.cloud.pubsub_v1.subscriber.message import Message

from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.worker.registry import Handler, Registry
from poolhouse.worker.runtime.attempts import Attempts
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from poolhouse.worker.runtime.delivery import Delivery, PubSubDelivery
from poolhouse.worker.runtime.execution.thread_pool import TaskThreads
from poolhouse.worker.runtime.pulling.sources import Source

#: Messages held beyond those that run, as a multiple of the queue's concurrency: they hide the way from Pub/Sub.
PREFETCH = 1
#: The same where a task type keeps no record. Such tasks are short, and end faster than acks, which the client library
#: gathers for 10 ms, make room for the next ones: with 1 a process did 2,700 no-ops a second, with 6 it did 5,400.
PREFETCH_UNRECORDED = 6
#: Messages held beyond that where a task type has limits: those that are parked must not keep others from coming.
PARKED_MESSAGES = 1000
DEAD_LETTER_CONCURRENCY = 2


def messages_held(queue: str, concurrency: int, handlers: Iterable[Handler], *, topology: Topology) -> int:
    """Return how many messages of a queue a worker holds at the most: those that run, and those that wait in it.

    Args:
        queue: the queue's name.
        concurrency: how many run at the same time.
        handlers: all that the worker has. A task may be sent to any queue, so a limit of any type counts; whether the
            tasks are short depends on the types whose own queue it is.
        topology: the queues.
    """
    handlers = tuple(handlers)
    short = any(not handler.record for handler in handlers if handler.queue_in(topology) == queue)
    limited = any(handler.limited for handler in handlers)
    prefetch = PREFETCH_UNRECORDED if short else PREFETCH
    return concurrency * (1 + prefetch) + (PARKED_MESSAGES if limited else 0)


class Intake:
    """Takes messages in, and gives those back that have not started."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        keeper: DeadLetterKeeper,
        threads: TaskThreads,
        publisher: Publisher,
        registry: Registry,
        topology: Topology,
    ) -> None:
        """Take nothing yet.

        Args:
            attempts: runs the tasks.
            keeper: keeps the dead letters.
            threads: what waits for a thread.
            publisher: hands tasks over.
            registry: the handlers.
            topology: the queues.
        """
        self._attempts = attempts
        self._keeper = keeper
        self._threads = threads
        self._publisher = publisher
        self._registry = registry
        self._topology = topology
        #: When the last message came or ended, or was seen in hand.
        self.last_activity_s = time.monotonic()

    def held(self, source: Source) -> int:
        """How many messages of a subscription are held at the most."""
        if source.of_dead_letters:
            return DEAD_LETTER_CONCURRENCY * (1 + PREFETCH)
        queue = source.queue
        return messages_held(queue.name, queue.workers.concurrency, self._registry.values(), topology=self._topology)

    def delivery(self, message: Message, source: Source, *, on_end: Callable[[], None]) -> Delivery:
        """A message as the runtime sees it; arguments as of `PubSubDelivery`."""
        return PubSubDelivery(message, source.queue.name, self._publisher.publish_raw, on_end=on_end)

    def process(self, delivery: Delivery, source: Source) -> None:
        """Bring a delivery to its end."""
        self.last_activity_s = time.monotonic()
        if source.of_dead_letters:
            self._keeper.process(delivery)
        else:
            self._attempts.process(delivery)
        self.last_activity_s = time.monotonic()

    def give_back(self, delivery: Delivery, source: Source) -> None:
        """Return a delivery that no thread takes up any more."""
        if source.of_dead_letters:
            delivery.nack()
        else:
            self._attempts.return_unstarted(delivery)

    def withdraw(self, source: Source) -> None:
        """Give back all of a queue that has not started."""
        for give_back in self._threads.withdraw(source.lane):
            give_back()
        for delivery in self._attempts.parked_of(source.queue.name):
            self._attempts.return_unstarted(delivery)
