"""Pub/Sub of a pipeline under test: our emulator called directly or over gRPC, and what a test does to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from google.cloud import pubsub_v1
from google.pubsub_v1.types import PubsubMessage, PullResponse

from poolhouse.local.provision import declaration
from poolhouse.pipeline.config import topology as topologies
from poolhouse.pipeline.errors import MessageRefused, QueueUnavailable
from poolhouse.pipeline.messaging.pubsub_transport import Message, PubSubTopics, Topics
from poolhouse.worker.runtime.pulling.subscriber import open_subscriber
from poolhouse_pubsub import declared
from poolhouse_pubsub.control.faults import Fault, Faults
from poolhouse_pubsub.control.inspection import MessageView, inspect
from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.encoding import encode
from poolhouse_pubsub.core.leases import Consumer, Mode
from poolhouse_pubsub.server import EmulatorServer
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.status import StatusError

#: Deadline that a message in hand is given, and the time after which it is given anew, in seconds.
_HELD_S, _RENEWED_AFTER_S = 600, 300.0
_TIMEOUT_S = 10.0
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """A message that was pulled, and the id of that delivery."""

    subscription: str
    ack_id: str
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime
    attempt: int


class Broker(Protocol):
    """What a worker under test does with Pub/Sub. Subscriptions are ids in the test's project."""

    def topics(self) -> Topics:
        """What is published to."""

    def pull(self, subscription: str) -> Pulled | None:
        """Lease the next message; None where none is ready."""

    def ack(self, subscription: str, ack_id: str) -> None:
        """Acknowledge a delivery."""

    def modify(self, subscription: str, ack_id: str, deadline_s: int) -> None:
        """Set a delivery's deadline; 0 gives the message back."""


class Emulation:
    """The emulator behind a broker: its time, its backlog and its faults."""

    def __init__(
        self, service: Service, faults: Faults, *, project: str, call: Callable[[Callable[[], Any]], Any]
    ) -> None:
        """Args: call: calls a function where the emulator may be touched."""
        self._service = service
        self._emulator = service.emulator
        self._faults = faults
        self._project = project
        self._call = call
        self._topologies: dict[str, declared.Topology] = {}

    def path(self, subscription: str) -> str:
        """The full name of a subscription."""
        return f"projects/{self._project}/subscriptions/{subscription}"

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._emulator.clock.now()

    def start(self, pipeline_file: str) -> None:
        """Empty it, and make what a `pipeline.toml` declares."""
        topology = self._topologies.get(pipeline_file)
        if topology is None:
            topology = self._topologies[pipeline_file] = declared.parse(
                declaration(topologies.load(pipeline_file), project=self._project), project=self._project
            )

        def restart() -> None:
            self._faults.clear()
            self._emulator.reset()
            declared.realise(topology, self._service)

        self._call(restart)

    def advance(self, until: float, *, held: Sequence[tuple[str, str]]) -> None:
        """Move time forward, to the exact moment; the deliveries in hand keep their leases.

        Args:
            until: seconds since the epoch.
            held: subscription and ack id of each.
        """

        def move() -> None:
            while (left_s := until - self.now()) > 0:
                for subscription, ack_id in held:
                    leased = self._emulator.subscriptions[self.path(subscription)]
                    leased.modify_deadline(ack_id, seconds=_HELD_S, now=self.now())
                self._emulator.advance(min(left_s, _RENEWED_AFTER_S) if held else left_s)

        self._call(move)

    def ready(self, subscriptions: Sequence[str]) -> list[str]:
        """Those of the subscriptions that have a message to deliver."""

        def look() -> list[str]:
            self._emulator.run_due()
            return [name for name in subscriptions if self._emulator.subscriptions[self.path(name)].backlog.ready]

        found: list[str] = self._call(look)
        return found

    def unacked(self, subscriptions: Sequence[str]) -> list[MessageView]:
        """The messages of the subscriptions that are not done with."""
        found: list[MessageView] = self._call(
            lambda: [view for name in subscriptions for view in inspect(self._emulator, self.path(name)).messages]
        )
        return found

    def add_fault(self, kind: Any, **options: Any) -> Fault:
        """Set a fault of `poolhouse_pubsub.control.faults`."""
        fault: Fault = self._call(lambda: self._faults.add(Fault(kind=kind, **options)))
        return fault

    def remove_fault(self, fault: Fault) -> None:
        """Take a fault away; one that is gone already is fine."""

        def remove() -> None:
            if fault in self._faults.all():
                self._faults.remove(fault)

        self._call(remove)


class DirectBroker:
    """The emulator's state machine, called without a connection. Thread-safe."""

    def __init__(self, *, project: str) -> None:
        self._project = project
        self._lock = threading.RLock()
        self._server = Emulator(clock=Clock(manual=True), seed=0)
        faults = Faults(self._server.random)

        def changed() -> None:
            self._server.fault_injector = faults if faults.active else None

        faults.on_change = changed
        self._service = Service(self._server, faults)
        self.emulation = Emulation(self._service, faults, project=project, call=self._locked)

    def _locked(self, function: Callable[[], _T]) -> _T:
        with self._lock:
            return function()

    def topics(self) -> Topics:
        return _DirectTopics(self._service, self._project, self._locked)

    def pull(self, subscription: str) -> Pulled | None:
        def take() -> bytes:
            found = self._server.subscriptions[self.emulation.path(subscription)]
            consumer = Consumer(Mode.PULL, token="", deliver=lambda _: None, max_messages=1)
            return encode(found, found.take(consumer, now=self._server.clock.now(), limit=1))

        received = PullResponse.pb().FromString(self._locked(take)).received_messages
        return _pulled(subscription, received[0]) if received else None

    def ack(self, subscription: str, ack_id: str) -> None:
        found = self._server.subscriptions[self.emulation.path(subscription)]
        self._locked(lambda: self._service.subscriber.settle(found, [ack_id]))

    def modify(self, subscription: str, ack_id: str, deadline_s: int) -> None:
        found = self._server.subscriptions[self.emulation.path(subscription)]
        self._locked(lambda: found.modify_deadline(ack_id, seconds=deadline_s, now=self._server.clock.now()))


class _DirectTopics:
    """`Topics` on the emulator's state machine."""

    def __init__(self, service: Service, project: str, locked: Callable[[Callable[[], Any]], Any]) -> None:
        self._service = service
        self._project = project
        self._locked = locked

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        answer: Future[Sequence[str]] = Future()
        drafts = [
            PubsubMessage.pb()(data=message.data, attributes=message.attributes).SerializeToString()
            for message in messages
        ]
        request = self._service.methods["google.pubsub.v1.Publisher/Publish"].request(
            topic=f"projects/{self._project}/topics/{topic}"
        )
        for draft in drafts:
            request.messages.add().ParseFromString(draft)
        try:
            answer.set_result(list(self._locked(lambda: self._service.publisher.publish(request)).message_ids))
        except StatusError as error:
            kind = MessageRefused if error.code.name == "INVALID_ARGUMENT" else QueueUnavailable
            answer.set_exception(kind(f"the queue did not take the message ({topic}): {error}"))
        return answer

    def check(self, topic: str, *, timeout_s: float) -> None:
        if f"projects/{self._project}/topics/{topic}" not in self._service.emulator.topics:
            raise QueueUnavailable(f"there is no topic {topic}")

    def close(self) -> None:
        return


class GrpcBroker:
    """The emulator as a server, which PUBSUB_EMULATOR_HOST names, with the ordinary clients. Close it."""

    def __init__(self, *, project: str, server: EmulatorServer) -> None:
        """Connect, as the environment says: to that server."""
        self._project = project
        self._topics = PubSubTopics(project)
        self._subscriber = open_subscriber()
        self.emulation = Emulation(server.core.service, server.core.faults, project=project, call=server.call)

    def topics(self) -> Topics:
        return _KeptOpen(self._topics)

    def pull(self, subscription: str) -> Pulled | None:
        request = {
            "subscription": self._path(subscription),
            "max_messages": 1,
            # Not for production: a pull of the worker's kind would wait for messages.
            "return_immediately": True,
        }
        answer = self._subscriber.transport.pull(pubsub_v1.types.PullRequest(request), timeout=_TIMEOUT_S)
        received = pubsub_v1.types.PullResponse.pb(answer).received_messages
        return _pulled(subscription, received[0]) if received else None

    def ack(self, subscription: str, ack_id: str) -> None:
        self._subscriber.transport.acknowledge(
            pubsub_v1.types.AcknowledgeRequest(subscription=self._path(subscription), ack_ids=[ack_id]),
            timeout=_TIMEOUT_S,
        )

    def modify(self, subscription: str, ack_id: str, deadline_s: int) -> None:
        self._subscriber.transport.modify_ack_deadline(
            pubsub_v1.types.ModifyAckDeadlineRequest(
                subscription=self._path(subscription), ack_ids=[ack_id], ack_deadline_seconds=deadline_s
            ),
            timeout=_TIMEOUT_S,
        )

    def close(self) -> None:
        """Close the connections."""
        self._topics.close()
        self._subscriber.close()

    def _path(self, subscription: str) -> str:
        return f"projects/{self._project}/subscriptions/{subscription}"


class _KeptOpen:
    """Topics whose connection outlives their publisher."""

    def __init__(self, topics: Topics) -> None:
        self.publish = topics.publish
        self.check = topics.check

    def close(self) -> None:
        return


def _pulled(subscription: str, received: Any) -> Pulled:
    message = received.message
    at = message.publish_time
    return Pulled(
        subscription=subscription,
        ack_id=received.ack_id,
        message_id=message.message_id,
        data=message.data,
        attributes=dict(message.attributes),
        published_at=datetime.fromtimestamp(at.seconds + at.nanos / 1e9, UTC),
        attempt=max(1, received.delivery_attempt),
    )
