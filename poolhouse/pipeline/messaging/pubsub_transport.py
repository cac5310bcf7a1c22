"""Pub/Sub's publish call, as the publisher needs it: some messages in one request, tried again while time is left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import grpc
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from google.cloud import pubsub_v1
from google.pubsub_v1.types import PublishRequest, PublishResponse, PubsubMessage

from poolhouse.pipeline.errors import ConfigError, MessageRefused, QueueUnavailable

#: Pause before the second try of a request, in seconds; doubles with each further one up to the longest.
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
#: A connection that fails is replaced when it is at least this old, in seconds: gRPC's own pauses grow to two minutes,
#: and the queue would look down long after it came back.
RECONNECT_AFTER_S = 1.0

_RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,  # its connection was replaced under it
    grpc.StatusCode.UNKNOWN,
}


@dataclass(frozen=True)
class Message:
    """What is published: a body and its attributes."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)


class Topics(Protocol):
    """The topics of one project. Thread-safe."""

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        """Publish to a topic, by its id, in one request; the future gives the message ids in order.

        The future raises `QueueUnavailable` after `timeout_s` without success, and `MessageRefused` where no further
        try can help.
        """

    def check(self, topic: str, *, timeout_s: float) -> None:
        """Raise `QueueUnavailable` unless Pub/Sub answers and has the topic."""

    def close(self) -> None:
        """Close the connection."""


class PubSubTopics:
    """`Topics` on Pub/Sub, or on whatever `PUBSUB_EMULATOR_HOST` names."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._closed = False
        self._connect()

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        path = self._path(topic)
        request = _RawRequest(
            topic=path, messages=[_RawMessage(data=message.data, attributes=message.attributes) for message in messages]
        )
        sending = _Sending(self, path, request, deadline=time.monotonic() + timeout_s)
        sending.start()
        return sending.answer

    def check(self, topic: str, *, timeout_s: float) -> None:
        path = self._path(topic)
        client = self._client
        try:
            client.get_topic(topic=path, timeout=timeout_s, retry=None)
        except google_errors.GoogleAPICallError as error:
            self.replace(client)
            raise QueueUnavailable(f"topic {path}: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            client = self._client
        client.transport.close()

    def call(self, request: Any, *, timeout_s: float, metadata: Sequence[tuple[str, str]]) -> tuple[Any, Any]:
        """Start one try: the client that it runs on (see `replace`), and the call, which is a future.

        Raises:
            ValueError: the connection is closed.
        """
        while True:
            with self._lock:
                client, publish = self._client, self._publish
            try:
                return client, publish.future(request, timeout=timeout_s, metadata=metadata)
            except ValueError:
                if client is self._client:
                    raise

    def replace(self, client: Any) -> None:
        """Open a new connection in place of one that failed, unless that was done already or just now."""
        with self._lock:
            if client is not self._client or self._closed:
                return
            if time.monotonic() - self._connected_at < RECONNECT_AFTER_S:
                return
            self._connect()
        # Closing waits until every call has ended, and each ends on the channel's one thread, by a callback that may
        # come here: so not on that thread, and not with the lock that the callbacks want.
        threading.Thread(target=client.transport.close, name="close-channel", daemon=True).start()

    def _connect(self) -> None:
        # Google's client knows where to connect and with which credentials; its own batching is not used: it waits for
        # a timer, on a thread for each batch, where `Publisher` waits for nothing.
        try:
            self._client = pubsub_v1.PublisherClient()
        except auth_errors.DefaultCredentialsError as error:
            raise ConfigError(f"no credentials for Pub/Sub, and PUBSUB_EMULATOR_HOST is not set: {error}") from None
        self._publish = self._client.transport.grpc_channel.unary_unary(
            "/google.pubsub.v1.Publisher/Publish",
            request_serializer=_RawRequest.SerializeToString,
            response_deserializer=PublishResponse.pb().FromString,
        )
        self._connected_at = time.monotonic()

    def _path(self, topic: str) -> str:
        return f"projects/{self._project}/topics/{topic}"


_RawRequest = PublishRequest.pb()
_RawMessage = PubsubMessage.pb()


class _Sending:
    """One publish request and its tries."""

    def __init__(self, topics: PubSubTopics, path: str, request: Any, *, deadline: float) -> None:
        self.answer: Future[Sequence[str]] = Future()
        self.answer.set_running_or_notify_cancel()
        self._topics = topics
        self._path = path
        self._request = request
        self._deadline = deadline
        self._pause_s = FIRST_PAUSE_S
        # Google AIP-4222: names the topic to the service's front end, before the request is parsed.
        self._metadata = (("x-goog-request-params", f"topic={quote(path, safe='')}"),)

    def start(self) -> None:
        timeout_s = max(0.001, self._deadline - time.monotonic())
        try:
            client, call = self._topics.call(self._request, timeout_s=timeout_s, metadata=self._metadata)
        except ValueError as error:  # gRPC, of a closed channel
            self._give_up(error)
            return
        call.add_done_callback(lambda done: self._done(client, done))

    def _done(self, client: Any, call: Any) -> None:
        code = call.code()
        if code is grpc.StatusCode.OK:
            self.answer.set_result(list(call.result().message_ids))
            return
        if code is grpc.StatusCode.UNAVAILABLE:
            self._topics.replace(client)
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            self.answer.set_exception(MessageRefused(f"Pub/Sub refuses the message ({self._path}): {call.details()}"))
        elif code in _RETRIED and time.monotonic() + self._pause_s < self._deadline:
            _later(self._pause_s * random.uniform(0.8, 1.2), self.start)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        else:
            self._give_up(call)

    def _give_up(self, error: Any) -> None:
        what = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)
        self.answer.set_exception(QueueUnavailable(f"the queue did not take the message ({self._path}): {what}"))


def _later(delay_s: float, function: Callable[[], None]) -> None:
    timer = threading.Timer(delay_s, function)
    timer.daemon = True
    timer.start()
