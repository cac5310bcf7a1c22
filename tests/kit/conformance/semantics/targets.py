"""The emulators that the suite runs against, and what a test needs of one."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.iam.v1 import iam_policy_pb2_grpc
from google.pubsub_v1 import PublisherClient, SchemaServiceClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.schema_service.transports import SchemaServiceGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage, PullRequest, PullResponse, StreamingPullRequest, StreamingPullResponse

#: The version of Google's emulator whose deviations are listed.
GOOGLE_VERSION = "0.8.20"
#: Where the Cloud SDK keeps Google's emulator, from its root.
JAR_PATTERN = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_SDK_ROOTS = ("/usr/lib/google-cloud-sdk", "/opt/google-cloud-sdk", "/snap/google-cloud-cli/current")

#: Longest a test waits for something that should come, in seconds.
PATIENCE_S = 10.0
#: Longest time of one call, in seconds. A transform that never ends is refused after half a second of CPU, which takes
#: many times as long on a machine with much else to do.
CALL_TIMEOUT_S = 60.0
#: How long a test looks whether something comes that should not, in seconds.
GLANCE_S = 0.7


@dataclass(frozen=True)
class Target:
    """One running emulator."""

    #: `ours` or `google`.
    name: str
    #: HOST:PORT.
    address: str
    #: Lets that many seconds pass for the emulator: at once on ours, really on Google's.
    wait: Callable[[float], None]


@contextlib.contextmanager
def ours() -> Iterator[Target]:
    """Poolhouse's emulator, in this process."""
    from poolhouse_pubsub.server import EmulatorServer

    with EmulatorServer() as server:
        yield Target("ours", server.address, server.clock.advance)


def find_jar() -> Path | None:
    """Google's emulator, newest version first; POOLHOUSE_PUBSUB_JAR names another one."""
    if "POOLHOUSE_PUBSUB_JAR" in os.environ:
        return Path(os.environ["POOLHOUSE_PUBSUB_JAR"])
    gcloud = shutil.which("gcloud")
    roots = [Path(gcloud).resolve().parents[1]] if gcloud else []
    roots += [Path(root) for root in _SDK_ROOTS] + [Path.home() / "google-cloud-sdk"]
    jars = [jar for root in roots for jar in sorted(root.glob(JAR_PATTERN), reverse=True)]
    return jars[0] if jars else None


@contextlib.contextmanager
def google() -> Iterator[Target]:
    """Google's emulator, as a process.

    Skips (fails in CI) where Java or the jar are missing, or where it is of another version and was not asked for.
    """
    jar, java = find_jar(), shutil.which("java")
    if jar is None or java is None:
        raise _missing("Google's emulator needs java and `gcloud components install pubsub-emulator`")
    if GOOGLE_VERSION not in jar.name and "POOLHOUSE_PUBSUB_JAR" not in os.environ:
        raise _missing(
            f"the deviations are those of version {GOOGLE_VERSION}; POOLHOUSE_PUBSUB_JAR={jar} tries this one"
        )
    process, address = start_google(java, jar)
    try:
        yield Target("google", address, time.sleep)
    finally:
        process.terminate()
        process.wait(10)


def _missing(reason: str) -> BaseException:
    return (pytest.fail if os.environ.get("CI") else pytest.skip).Exception(reason)


def start_google(java: str, jar: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Starts Google's emulator and returns when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [java, "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            if answer.status == 200:
                return process, f"127.0.0.1:{port}"
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError("Google's emulator did not start")
        time.sleep(0.01)


TARGETS = {"ours": ours, "google": google}


class Plain:
    """A generated client whose calls are made once and not for ever: a refusal that clients retry shall be seen.

    Args:
        client: The client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return functools.partial(getattr(self._client, name), retry=None, timeout=CALL_TIMEOUT_S)


class Clients:
    """Google's generated clients on one channel to an emulator."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.use(grpc.insecure_channel(target.address, options=[("grpc.max_receive_message_length", -1)]))

    def use(self, channel: Any) -> None:
        """Makes the calls on a channel, such as one with interceptors."""
        self.channel = channel
        self.publisher = Plain(PublisherClient(transport=PublisherGrpcTransport(channel=channel)))
        self.subscriber = Plain(SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)))
        self.schemas = Plain(SchemaServiceClient(transport=SchemaServiceGrpcTransport(channel=channel)))
        self.pull = channel.unary_unary(
            "/google.pubsub.v1.Subscriber/Pull",
            request_serializer=PullRequest.serialize,
            response_deserializer=PullResponse.deserialize,
        )
        self.iam = iam_policy_pb2_grpc.IAMPolicyStub(channel)


class Project:
    """A project that no other test uses."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.target = clients.target
        self.publisher = clients.publisher
        self.subscriber = clients.subscriber
        self.id = f"conf-{secrets.token_hex(6)}"
        self.path = f"projects/{self.id}"
        self.streams: list[Stream] = []

    def name(self, kind: str, id: str) -> str:
        return f"{self.path}/{kind}/{id}"

    def topic(self, id: str = "topic", **fields: Any) -> str:
        name = self.name("topics", id)
        self.publisher.create_topic({"name": name, **fields})
        return name

    def subscription(self, id: str = "subscription", *, topic: str | None = None, **fields: Any) -> str:
        """Makes a subscription, and its topic `topic` where there is none yet."""
        if topic is None:
            topic = self.name("topics", "topic")
            with contextlib.suppress(GoogleAPICallError):
                self.topic()
        name = self.name("subscriptions", id)
        self.subscriber.create_subscription({"name": name, "topic": topic, **fields})
        return name

    def publish(self, *data: str | bytes, topic: str | None = None, key: str = "", **attributes: str) -> list[str]:
        messages = [
            PubsubMessage(
                data=each.encode() if isinstance(each, str) else each, ordering_key=key, attributes=attributes
            )
            for each in data
        ]
        return self.publish_messages(messages, topic=topic)

    def publish_messages(self, messages: list[Any], *, topic: str | None = None) -> list[str]:
        topic = topic or self.name("topics", "topic")
        answer = self.publisher.publish(topic=topic, messages=messages)
        return list(answer.message_ids)

    def pull(self, subscription: str, limit: int = 100, *, at_least: int = 1, seconds: float = PATIENCE_S) -> list[Any]:
        """Pulls until so many messages are there (or patience is over)."""
        found: list[Any] = []
        deadline = time.monotonic() + seconds
        while len(found) < at_least and time.monotonic() < deadline:
            found += self.pull_now(subscription, limit - len(found))
            if len(found) < at_least:
                time.sleep(0.01)
        return found

    def pull_now(self, subscription: str, limit: int = 100) -> list[Any]:
        """What a Pull gets at once."""
        # Not the client's method: it warns of return_immediately, which a test needs.
        request = PullRequest(subscription=subscription, max_messages=limit, return_immediately=True)
        return list(self.clients.pull(request, timeout=PATIENCE_S).received_messages)

    def gets_nothing(self, subscription: str) -> bool:
        """Whether nothing comes for a moment."""
        deadline = time.monotonic() + GLANCE_S
        while time.monotonic() < deadline:
            if self.pull_now(subscription):
                return False
            if self.target.name == "ours":
                return True  # ours decides at once; Google's needs the moment
            time.sleep(0.05)
        return True

    def ack(self, subscription: str, *messages: Any) -> None:
        ids = [message.ack_id for message in messages]
        self.subscriber.acknowledge(subscription=subscription, ack_ids=ids)

    def modify(self, subscription: str, *messages: Any, seconds: int) -> None:
        self.subscriber.modify_ack_deadline(
            subscription=subscription,
            ack_ids=[message.ack_id for message in messages],
            ack_deadline_seconds=seconds,
        )

    def nack(self, subscription: str, *messages: Any) -> None:
        self.modify(subscription, *messages, seconds=0)

    def stream(self, subscription: str, **first: Any) -> Stream:
        """Opens a StreamingPull."""
        stream = Stream(self.clients.channel, subscription=subscription, **{"stream_ack_deadline_seconds": 10, **first})
        self.streams.append(stream)
        return stream

    def wait(self, seconds: float) -> None:
        """Lets time pass for the emulator."""
        self.target.wait(seconds)

    def close(self) -> None:
        for stream in self.streams:
            stream.cancel()


class Stream:
    """A StreamingPull without the client library on top: every request and response is seen."""

    def __init__(self, channel: Any, **first: Any) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()
        self.responses: list[Any] = []
        self._changed = threading.Condition()
        self.error: grpc.RpcError | None = None
        self.ended = False
        call = channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=StreamingPullRequest.serialize,
            response_deserializer=StreamingPullResponse.deserialize,
        )
        self.send(**first)
        self._call = call(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, **fields: Any) -> None:
        self._requests.put(StreamingPullRequest(**fields))

    def half_close(self) -> None:
        self._requests.put(None)

    def cancel(self) -> None:
        self._call.cancel()
        self._requests.put(None)
        self._reader.join(PATIENCE_S)

    def _read(self) -> None:
        error = None
        try:
            for response in self._call:
                with self._changed:
                    self.responses.append(response)
                    self._changed.notify_all()
        except grpc.RpcError as caught:
            error = caught
        with self._changed:
            self.error, self.ended = error, True
            self._changed.notify_all()

    @property
    def messages(self) -> list[Any]:
        return [message for response in self.responses for message in response.received_messages]

    @property
    def data(self) -> list[str]:
        return [message.message.data.decode() for message in self.messages]

    def until(self, condition: Callable[[Stream], bool], *, seconds: float = PATIENCE_S) -> bool:
        """Waits until something is true of the stream."""
        deadline = time.monotonic() + seconds
        with self._changed:
            # Looks again now and then: the condition may be about another stream, too.
            while not condition(self):
                if time.monotonic() > deadline:
                    return False
                self._changed.wait(0.02)
        return True

    def gets(self, count: int) -> list[Any]:
        """Waits for so many messages."""
        assert self.until(lambda stream: len(stream.messages) >= count), f"{len(self.messages)} of {count} messages"
        return self.messages

    def code(self) -> grpc.StatusCode | None:
        """Waits for the end of the stream; its code, OK for a good one."""
        assert self.until(lambda stream: stream.ended), "the stream goes on"
        return self.error.code() if self.error is not None else grpc.StatusCode.OK  # type: ignore[attr-defined]

    def goes_on(self) -> bool:
        """Whether the stream is still open after a moment."""
        return not self.until(lambda stream: stream.ended, seconds=GLANCE_S)


@contextlib.contextmanager
def refused(*codes: str) -> Iterator[Any]:
    """The call inside fails with one of these codes."""
    with pytest.raises((GoogleAPICallError, grpc.RpcError)) as caught:
        yield caught
    error = caught.value
    code = error.grpc_status_code if isinstance(error, GoogleAPICallError) else error.code()
    assert code is not None, error
    assert code.name in codes, f"{code.name}: {error}"


def data(messages: list[Any]) -> list[str]:
    """The data of received messages."""
    return [message.message.data.decode() for message in messages]
