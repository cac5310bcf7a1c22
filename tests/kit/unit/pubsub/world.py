"""An emulator without a server, and with a clock that stands still: what the tests of the core work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.faults import Faults
from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.encoding import encode
from poolhouse_pubsub.core.leases import Consumer, Entry, Mode
from poolhouse_pubsub.core.subscription import AckResult, Subscription
from poolhouse_pubsub.service import Service

START = 1_800_000_000.0
TOPIC = "projects/core/topics/orders"
SUBSCRIPTION = "projects/core/subscriptions/orders-worker"


@dataclass(frozen=True)
class Received:
    ack_id: str
    data: str
    key: str
    attempt: int
    attributes: dict[str, str]
    message_id: str
    publish_time: float


class World:
    def __init__(self, *, seed: int = 1, **fields: Any) -> None:
        self.clock = Clock(manual=True, start=START)
        self.emulator = Emulator(clock=self.clock, seed=seed)
        self.faults = Faults(self.emulator.random)
        self.faults.on_change = self._faults_changed
        self.service = Service(self.emulator, self.faults)
        self.topic()
        self.subscribe(**fields)

    def _faults_changed(self) -> None:
        self.emulator.fault_injector = self.faults if self.faults.active else None

    def topic(self, name: str = TOPIC, **fields: Any) -> Any:
        return self.service.publisher.create_topic(protos.Topic(name=name, **fields))

    def subscribe(self, name: str = SUBSCRIPTION, *, topic: str = TOPIC, **fields: Any) -> Subscription:
        self.service.subscriber.create_subscription(protos.Subscription(name=name, topic=topic, **fields))
        return self.emulator.subscriptions[name]

    @property
    def subscription(self) -> Subscription:
        return self.emulator.subscriptions[SUBSCRIPTION]

    def publish(self, *data: str, key: str = "", topic: str = TOPIC, **attributes: str) -> list[str]:
        request = protos.PublishRequest(topic=topic)
        for text in data:
            request.messages.add(data=text.encode(), ordering_key=key, attributes=attributes)
        answer = self.service.publisher.publish(request)
        self.emulator.pump()
        return list(answer.message_ids)

    def pull(self, limit: int = 1000, *, name: str = SUBSCRIPTION) -> list[Received]:
        subscription = self.emulator.subscriptions[name]
        consumer = Consumer(Mode.PULL, token="", deliver=lambda batch: None)
        return received(subscription, subscription.take(consumer, now=self.clock.now(), limit=limit))

    def ack(self, *messages: Received, name: str = SUBSCRIPTION) -> list[AckResult]:
        ids = [message.ack_id for message in messages]
        results = self.emulator.subscriptions[name].acknowledge(ids)
        self.emulator.pump()
        self.emulator.commit()
        return results

    def modify(self, *messages: Received, seconds: float, name: str = SUBSCRIPTION) -> list[AckResult]:
        subscription = self.emulator.subscriptions[name]
        results = [
            subscription.modify_deadline(each.ack_id, seconds=seconds, now=self.clock.now()) for each in messages
        ]
        self.emulator.pump()
        self.emulator.commit()
        return results

    def nack(self, *messages: Received, name: str = SUBSCRIPTION) -> list[AckResult]:
        return self.modify(*messages, seconds=0, name=name)

    def advance(self, seconds: float) -> None:
        self.emulator.advance(seconds)

    def stream(self, *, name: str = SUBSCRIPTION, token: str = "", **limits: Any) -> Stream:
        return Stream(self, self.emulator.subscriptions[name], token=token, **limits)


class Stream:
    """A consumer that gets whatever it has room for."""

    def __init__(self, world: World, subscription: Subscription, *, token: str, **limits: Any) -> None:
        self._world = world
        self._subscription = subscription
        self.got: list[Received] = []
        self.consumer = Consumer(Mode.STREAM, token=token or str(id(self)), deliver=self._deliver, **limits)
        subscription.connect(self.consumer)
        world.emulator.pump()

    def _deliver(self, batch: list[Entry]) -> None:
        self.got += received(self._subscription, batch)

    @property
    def data(self) -> list[str]:
        return [message.data for message in self.got]

    def close(self) -> None:
        self._subscription.disconnect(self.consumer)
        self._world.emulator.pump()


def received(subscription: Subscription, batch: Sequence[Entry]) -> list[Received]:
    """What a client would read: from the very bytes that are sent."""
    response = protos.PullResponse.FromString(encode(subscription, batch))
    return [
        Received(
            ack_id=each.ack_id,
            data=each.message.data.decode(),
            key=each.message.ordering_key,
            attempt=each.delivery_attempt,
            attributes=dict(each.message.attributes),
            message_id=each.message.message_id,
            publish_time=each.message.publish_time.seconds + each.message.publish_time.nanos / 1e9,
        )
        for each in response.received_messages
    ]


def data(messages: Sequence[Received]) -> list[str]:
    return [message.data for message in messages]
