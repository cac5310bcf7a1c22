"""The subscriptions that a worker pulls from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from google.cloud import pubsub_v1

from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology

#: Queue share of the dead letters: they have threads of their own, after all queues.
DEAD_LETTER_LANE = "dead letters"


@dataclass(frozen=True)
class Source:
    """A subscription that the worker pulls from, and the lane that its messages wait in."""

    queue: Queue
    subscription: str
    #: The subscription's full name.
    path: str
    lane: str
    #: Its place in the lane, where the queue is fair.
    tier: int = 0

    @property
    def of_dead_letters(self) -> bool:
        """Whether its messages are dead letters, which are kept also while their queue is paused."""
        return self.lane == DEAD_LETTER_LANE

    def pulled_while(self, paused: Collection[str]) -> bool:
        """Whether the worker pulls from it while some queues, given by their names, are paused."""
        return self.of_dead_letters or self.queue.name not in paused


def sources(queues: Sequence[str], topology: Topology, *, project: str, dead_letters: bool) -> Iterator[Source]:
    """The subscriptions of some queues, the most urgent first.

    Args:
        queues: their names.
        topology: all queues.
        project: of the subscriptions.
        dead_letters: whether those of all queues' dead letters follow.
    """

    def path(subscription: str) -> str:
        return str(pubsub_v1.SubscriberClient.subscription_path(project, subscription))

    for name in queues:
        queue = topology.by_name[name]
        for number, tier in enumerate(queue.tiers):
            yield Source(queue, tier.subscription, path(tier.subscription), name, number)
    if dead_letters:
        for queue in topology.queues:
            subscription = queue.dead_letter_subscription
            yield Source(queue, subscription, path(subscription), DEAD_LETTER_LANE)
