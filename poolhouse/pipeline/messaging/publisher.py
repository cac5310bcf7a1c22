"""Publishing task messages: a future each, done once Pub/Sub has the message.

Messages share requests without waiting for each other: while a topic's requests are under way, what comes in gathers,
and goes out together as soon as one of them is answered (as databases commit in groups). An idle publisher sends at
once; a busy one sends large requests.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import MessageRefused, QueueUnavailable
from poolhouse.pipeline.messaging.fair_tiers import TENANT, TIER, TIERS, FairTiers, tenant_of
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.pubsub_transport import Message, PubSubTopics, Topics

#: Requests of one topic under way at the same time; more would make them smaller, and cost more than they save.
REQUESTS_IN_FLIGHT = 2
#: Pub/Sub, Quotas and limits: 1,000 messages and 10 MB a request.
REQUEST_MESSAGES = 1000
REQUEST_BYTES = 4_000_000
#: The tiers of a fair queue, as attributes have them.
_TIERS = frozenset(str(number) for number in range(TIERS))


@dataclass(frozen=True)
class _Waiting:
    message: Message
    answer: Future[str]


@dataclass
class _Lane:
    """What waits for one topic, and how many of its requests are under way."""

    topic: str
    waiting: deque[_Waiting] = field(default_factory=deque)
    in_flight: int = 0

    def take(self) -> list[_Waiting]:
        """The next request's messages; empty where nothing waits or enough is under way."""
        taken: list[_Waiting] = []
        if self.in_flight >= REQUESTS_IN_FLIGHT:
            return taken
        size = 0
        while self.waiting and len(taken) < REQUEST_MESSAGES:
            size += len(self.waiting[0].message.data)
            if taken and size > REQUEST_BYTES:
                break
            taken.append(self.waiting.popleft())
        self.in_flight += bool(taken)
        return taken


class Publisher:
    """Publishes to the queues of one pipeline. Thread-safe."""

    def __init__(self, settings: Settings, *, topics: Topics | None = None) -> None:
        """Connect in the background.

        Args:
            topics: what to publish to; by default Pub/Sub, as the environment says.
        """
        self._topology = settings.topology
        self._timeout_s = settings.publish_timeout_s
        self._topics = PubSubTopics(settings.google_cloud_project) if topics is None else topics
        self._lanes: dict[str, _Lane] = {}
        self._fair = {
            queue.name: FairTiers(queue.fair_weights) for queue in self._topology.queues if queue.fair_by is not None
        }
        self._idle = threading.Condition()
        self._closed = False
        #: Called with body and attributes of each message that a queue has taken.
        self.on_submitted: Callable[[bytes, Mapping[str, str]], None] | None = None

        #: Called with queue and attributes of each message that is about to be sent; what it returns, if anything, is
        #: called with the future once that is done.
        self.on_publishing: Callable[[str, Mapping[str, str]], Callable[[Future[str]], None] | None] | None = None

    def submit(self, task: TaskMessage) -> Future[str]:
        """Publish a task to its queue.

        Returns:
            A future that gives the message id, or raises `QueueUnavailable` (the message may have arrived all the
            same, if only its answer was lost) or `MessageRefused`.
        """
        return self.publish_raw(task.queue, task.data(), self.attributes_of(task))

    def needs_payload(self, task: TaskMessage) -> bool:
        """Whether the attributes of a task's message name its tenant, which its payload tells."""
        return self._topology.by_name[task.queue].fair_by is not None

    def attributes_of(self, task: TaskMessage) -> dict[str, str]:
        """Return the attributes of a task's message: its own, and its tenant where the queue is fair."""
        fair_by = self._topology.by_name[task.queue].fair_by
        if fair_by is None:
            return task.attributes()
        return {**task.attributes(), TENANT: tenant_of(task.payload.get(fair_by))}

    def publish_raw(self, queue: str, data: bytes, attributes: Mapping[str, str]) -> Future[str]:
        """Publish a body as it is to a queue; the future is as `submit`'s."""
        topic, attributes = self._placed(queue, attributes)
        published = None if self.on_publishing is None else self.on_publishing(queue, attributes)
        answer = self.publish(topic, data, attributes)
        if published is not None:
            answer.add_done_callback(published)
        if (on_submitted := self.on_submitted) is not None:
            answer.add_done_callback(lambda done: None if done.exception() else on_submitted(data, attributes))
        return answer

    def dead_letter(self, queue: str, data: bytes, attributes: Mapping[str, str]) -> Future[str]:
        """Publish what failed for good to its queue's dead-letter topic; the future is as `submit`'s."""
        return self.publish(self._topology.by_name[queue].dead_letter_topic, data, attributes)

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> Future[str]:
        """Publish to a topic of the project by its id; the future is as `submit`'s."""
        answer: Future[str] = Future()
        answer.set_running_or_notify_cancel()  # who stops waiting for it does not stop the message
        with self._idle:
            if self._closed:
                answer.set_exception(QueueUnavailable(f"the publisher is closed: not sent to {topic}"))
                return answer
            lane = self._lanes.setdefault(topic, _Lane(topic))
            lane.waiting.append(_Waiting(Message(data, attributes), answer))
            batch = lane.take()
        if batch:
            self._send(lane, batch)
        return answer

    def check(self) -> None:
        """Raise `QueueUnavailable` unless Pub/Sub answers and has every queue's topic."""
        for queue in self._topology.queues:
            for tier in queue.tiers:
                self._topics.check(tier.topic, timeout_s=2)

    def close(self, *, timeout_s: float | None = None) -> None:
        """Send what waits, and close the connection.

        Args:
            timeout_s: the longest that it waits, in seconds; that of one publish call if None or longer than that.
        """
        with self._idle:
            self._closed = True
            self._idle.wait_for(
                lambda: not any(lane.in_flight or lane.waiting for lane in self._lanes.values()),
                timeout=self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s),
            )
        self._topics.close()

    def _placed(self, queue: str, attributes: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """The topic of a message, and its attributes: of a fair queue the tier too."""
        wanted, fair = self._topology.by_name[queue], self._fair.get(queue)
        if fair is None or TENANT not in attributes:
            return wanted.topic, attributes
        tier = attributes.get(TIER, "")  # a copy of a message stays where that was
        number = int(tier) if tier in _TIERS else fair.next(attributes[TENANT])
        return wanted.tiers[number].topic, {**attributes, TIER: str(number)}

    def _send(self, lane: _Lane, batch: Sequence[_Waiting]) -> None:
        messages = [waiting.message for waiting in batch]
        sent = self._topics.publish(lane.topic, messages, timeout_s=self._timeout_s)
        sent.add_done_callback(lambda done: self._sent(lane, batch, done))

    def _sent(self, lane: _Lane, batch: Sequence[_Waiting], sent: Future[Sequence[str]]) -> None:
        error = sent.exception()
        with self._idle:
            lane.in_flight -= 1
            if isinstance(error, MessageRefused) and len(batch) > 1:
                # One message spoils a whole request: each goes alone, so that it spoils no other.
                lane.in_flight += len(batch)
                following = [[waiting] for waiting in batch]
                batch = ()
            else:
                following = [lane.take()]
            if not lane.in_flight:
                self._idle.notify_all()
        for request in following:
            if request:
                self._send(lane, request)
        if error is not None:
            for waiting in batch:
                waiting.answer.set_exception(error)
        else:
            for waiting, message_id in zip(batch, sent.result() if batch else (), strict=True):
                waiting.answer.set_result(message_id)
