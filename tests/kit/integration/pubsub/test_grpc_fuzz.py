"""Bad input over gRPC: the right code, never INTERNAL or UNKNOWN, never a dead server."""

from __future__ import annotations

import errno
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolhouse_pubsub import protos
from poolhouse_pubsub.server import EmulatorServer

BAD = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
PROJECT = "projects/fuzz"
TOPIC, SUBSCRIPTION = f"{PROJECT}/topics/topic", f"{PROJECT}/subscriptions/subscription"
NAMES = [
    PROJECT,
    TOPIC,
    SUBSCRIPTION,
    f"{PROJECT}/snapshots/snapshot",
    f"{PROJECT}/schemas/schema",
    "",
    "x",
    "a/b/c/d/e",
]

_SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(seed=1) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: EmulatorServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


def restore(server: EmulatorServer) -> None:
    """Makes the topic and the subscription again that the fuzzing may have deleted."""

    def make() -> None:
        service = server.core.service
        if TOPIC not in server.emulator.topics:
            service.publisher.create_topic(protos.Topic(name=TOPIC))
        if SUBSCRIPTION not in server.emulator.subscriptions:
            service.subscriber.create_subscription(protos.Subscription(name=SUBSCRIPTION, topic=TOPIC))

    server.call(make)


def methods(server: EmulatorServer) -> dict[str, Any]:
    return server.core.service.methods


def code_of(channel: Any, path: str, raw: bytes, *, timeout: float = 0.5) -> grpc.StatusCode:
    try:
        channel.unary_unary("/" + path)(raw, timeout=timeout)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined]
    return grpc.StatusCode.OK


def assert_alive(channel: Any) -> None:
    request = protos.GetTopicRequest(topic=f"{PROJECT}/topics/absent").SerializeToString()
    assert code_of(channel, "google.pubsub.v1.Publisher/GetTopic", request, timeout=10) is grpc.StatusCode.NOT_FOUND


@_SETTINGS
@given(raw=st.binary(max_size=200), pick=st.integers(0, 10_000))
def test_random_bytes(server: EmulatorServer, channel: Any, raw: bytes, pick: int) -> None:
    restore(server)
    paths = sorted(methods(server))
    path = paths[pick % len(paths)]
    assert code_of(channel, path, raw) not in BAD, path


@_SETTINGS
@given(seed=st.integers(0, 2**32), pick=st.integers(0, 10_000))
def test_random_messages(server: EmulatorServer, channel: Any, seed: int, pick: int) -> None:
    restore(server)
    table = methods(server)
    path = sorted(table)[pick % len(table)]
    request = table[path].request()
    fill(request, random.Random(seed))
    assert code_of(channel, path, request.SerializeToString()) not in BAD, (path, request)


#: Values that get a call past its first checks, by field.
PLAUSIBLE = {
    "topic": [TOPIC],
    "dead_letter_topic": [TOPIC],
    "subscription": [SUBSCRIPTION],
    "snapshot": [f"{PROJECT}/snapshots/snapshot"],
    "schema": [f"{PROJECT}/schemas/schema"],
    "schema_id": ["schema", "other"],
    "project": [PROJECT],
    "parent": [PROJECT],
    "resource": [TOPIC, SUBSCRIPTION],
    "Topic.name": [TOPIC, f"{PROJECT}/topics/other"],
    "Subscription.name": [SUBSCRIPTION, f"{PROJECT}/subscriptions/other"],
    "Snapshot.name": [f"{PROJECT}/snapshots/snapshot"],
    "CreateSnapshotRequest.name": [f"{PROJECT}/snapshots/snapshot", ""],
    "name": [f"{PROJECT}/schemas/schema"],
    "paths": ["labels", "retry_policy", "expiration_policy", "dead_letter_policy", "message_retention_duration"],
    "definition": ['{"type": "record", "name": "A", "fields": []}', 'syntax = "proto3"; message A {}'],
    "filter": ["attributes:a", 'attributes.a = "b" AND NOT attributes:c', ""],
    "push_endpoint": [""],
    "stream_ack_deadline_seconds": [10],
    "ack_deadline_seconds": [0, 10, 600],
    "max_messages": [1, 1000],
    "seconds": [0, 600, 86_400],
    "nanos": [0],
}


def fill(message: Any, rng: random.Random, depth: int = 0) -> None:
    """Sets a message's fields to likely and, each time a few, to unlikely values."""
    # Some messages are nearly right, others nonsense throughout: the deep checks want the first kind.
    wild = rng.choice([0.0, 0.1, 0.5])
    for field in message.DESCRIPTOR.fields:
        full = f"{message.DESCRIPTOR.name}.{field.name}"
        likely = PLAUSIBLE.get(full, PLAUSIBLE.get(field.name))
        if likely is not None and field.message_type is None and rng.random() >= wild:
            if field.is_repeated:
                getattr(message, field.name).append(rng.choice(likely))
            else:
                setattr(message, field.name, rng.choice(likely))
            continue
        if rng.random() < 0.75 - wild or depth > 4:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(rng.randrange(3)):
                fill_map(getattr(message, field.name), field.message_type.fields_by_name["value"], rng, depth)
        elif field.is_repeated:
            values = getattr(message, field.name)
            for _ in range(rng.randrange(3)):
                if field.message_type is not None:
                    fill(values.add(), rng, depth + 1)
                else:
                    values.append(scalar(field, rng))
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), rng, depth + 1)
        else:
            setattr(message, field.name, scalar(field, rng))


def fill_map(values: Any, kind: Any, rng: random.Random, depth: int) -> None:
    if kind.message_type is not None:
        fill(values[text(rng)], rng, depth + 1)
    else:
        values[text(rng)] = scalar(kind, rng)


def text(rng: random.Random) -> str:
    return rng.choice([rng.choice(NAMES), "", "a", "é" * 100, "x" * 5000, "\x00", "labels", '{"type": "record"}'])


def scalar(field: Any, rng: random.Random) -> Any:
    kinds = field.__class__
    if field.type == kinds.TYPE_STRING:
        return text(rng)
    if field.type == kinds.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 100, 100_000]))
    if field.type == kinds.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type == kinds.TYPE_ENUM:
        return rng.choice([0, 1, 2, 3, 99])
    if field.type in (kinds.TYPE_DOUBLE, kinds.TYPE_FLOAT):
        return rng.choice([0.0, -1.5, float("inf"), float("nan")])
    bits = 31 if field.type in (kinds.TYPE_INT32, kinds.TYPE_SINT32, kinds.TYPE_SFIXED32) else 63
    return rng.choice([0, 1, 10, 600, -1, 2**bits - 1, -(2**bits)])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), raws=st.lists(st.binary(max_size=60), max_size=2))
def test_random_streams(server: EmulatorServer, channel: Any, seed: int, raws: list[bytes]) -> None:
    restore(server)
    rng = random.Random(seed)
    requests = []
    for _ in range(rng.randrange(1, 4)):
        request = protos.StreamingPullRequest()
        fill(request, rng)
        if rng.random() < 0.7:
            request.subscription = SUBSCRIPTION
            request.stream_ack_deadline_seconds = 10
        requests.append(request.SerializeToString())
    stream = channel.stream_stream("/google.pubsub.v1.Subscriber/StreamingPull")
    assert end_of(stream(iter([*requests, *raws]), timeout=0.5)) not in BAD


def end_of(call: Any) -> grpc.StatusCode:
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined]
    return grpc.StatusCode.OK


@pytest.mark.parametrize("size", [9_999_000, 10_000_001, 60_000_000])
def test_a_huge_field_is_refused_by_its_rule(server: EmulatorServer, channel: Any, size: int) -> None:
    restore(server)
    request = protos.PublishRequest(topic=TOPIC, messages=[{"data": b"x" * size}]).SerializeToString()
    code = code_of(channel, "google.pubsub.v1.Publisher/Publish", request, timeout=20)
    assert code is (grpc.StatusCode.OK if size < 10_000_000 else grpc.StatusCode.INVALID_ARGUMENT)
    long_name = protos.GetTopicRequest(topic="x" * size).SerializeToString()
    assert (
        code_of(channel, "google.pubsub.v1.Publisher/GetTopic", long_name, timeout=20)
        is grpc.StatusCode.INVALID_ARGUMENT
    )


def test_a_message_over_the_transports_limit_is_resource_exhausted(channel: Any) -> None:
    code = code_of(channel, "google.pubsub.v1.Publisher/Publish", b"\x0a" + b"x" * 70_000_000, timeout=20)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert_alive(channel)


def test_an_unknown_method_is_unimplemented(channel: Any) -> None:
    assert code_of(channel, "google.pubsub.v1.Publisher/Nonsense", b"") is grpc.StatusCode.UNIMPLEMENTED


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PRI",
        PREFACE[:-1],
        PREFACE,
        PREFACE + b"\xff" * 200,
        PREFACE + frame(4, 0, 0, b"")[:-3],
        PREFACE + frame(4, 0, 0, b"") + frame(1, 4, 1, b"\x00" * 50),
        PREFACE + frame(4, 0, 0, b"") + frame(0, 1, 1, struct.pack(">BI", 0, 1000) + b"short"),
        PREFACE + frame(4, 0, 0, b"") + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET / HTTP/1.1\r\nContent-Length: 100\r\n\r\nshort",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 100_000,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_broken_connections_leave_the_server_alive(server: EmulatorServer, channel: Any, raw: bytes) -> None:
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
        except OSError as error:  # the server hung up on what it can't read, perhaps before it had all of it
            if error.errno not in {errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN}:
                raise
    assert_alive(channel)
