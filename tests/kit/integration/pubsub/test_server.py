"""The server as its users meet it: start and stop, the stock client, time, faults, a declared topology."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.api_core.exceptions import NotFound, ResourceExhausted, ServiceUnavailable
from google.cloud import pubsub_v1
from google.pubsub_v1.types import PublishRequest, StreamingPullRequest

from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.declared import TopologyError
from poolhouse_pubsub.server import EmulatorServer
from poolhouse_pubsub.service import subscriber
from poolhouse_pubsub.status import Code
from tests.kit.waiting import until

TOPIC = "projects/server-tests/topics/orders"
SUBSCRIPTION = "projects/server-tests/subscriptions/orders-worker"
_ROOT = Path(__file__).parents[4]


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(seed=1) as server:
        yield server


class Client:
    """The stock client on a server, with a topic and a subscription."""

    def __init__(self, address: str, **fields: Any) -> None:
        os.environ["PUBSUB_EMULATOR_HOST"] = address
        self.publisher = pubsub_v1.PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()
        self.publisher.create_topic(name=TOPIC)
        self.subscriber.create_subscription({"name": SUBSCRIPTION, "topic": TOPIC, **fields})

    def publish(self, *data: str) -> None:
        for future in [self.publisher.publish(TOPIC, each.encode()) for each in data]:
            future.result(10)

    def pull(self, count: int = 10) -> list[Any]:
        answer = self.subscriber.pull(subscription=SUBSCRIPTION, max_messages=count, timeout=5, retry=None)
        return list(answer.received_messages)

    def close(self) -> None:
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()


@pytest.fixture
def client(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
    client = Client(
        server.address, retry_policy={"minimum_backoff": {"seconds": 600}, "maximum_backoff": {"seconds": 600}}
    )
    yield client
    client.close()


def call(server: EmulatorServer, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.address}{path}", method=method, data=data)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_it_starts_several_times_in_one_process_and_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())  # an emulator of the whole session may be among them
    servers = [EmulatorServer().start() for _ in range(3)]
    assert len({server.port for server in servers}) == 3
    for server in servers:
        with urllib.request.urlopen(f"http://{server.address}/") as answer:
            assert answer.read() == b"Ok\n"
    for server in servers:
        server.stop()
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if thread.name == "pubsub-emulator"]


def test_a_port_that_is_taken_is_an_error_at_the_start(server: EmulatorServer) -> None:
    with pytest.raises(OSError):
        EmulatorServer(port=server.port).start()


def test_it_can_be_started_again_after_a_stop() -> None:
    server = EmulatorServer()
    for _ in range(2):
        with server:
            assert urllib.request.urlopen(f"http://{server.address}/").read() == b"Ok\n"


class RawStream:
    """An open StreamingPull, without the client that would open it again."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._hold = threading.Event()
        call = self._channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull", request_serializer=StreamingPullRequest.serialize
        )
        self._replies = call(self._requests())

    def _requests(self) -> Iterator[Any]:
        yield StreamingPullRequest(subscription=SUBSCRIPTION, stream_ack_deadline_seconds=10)
        self._hold.wait(20)

    def first(self) -> None:
        """Waits for a response."""
        next(self._replies)

    def end(self) -> grpc.StatusCode:
        """Waits for the end of the stream."""
        with pytest.raises(grpc.RpcError) as caught:
            list(self._replies)
        self._hold.set()
        self._channel.close()
        code: grpc.StatusCode = caught.value.code()
        return code


def test_open_streams_end_with_unavailable_when_it_stops(server: EmulatorServer) -> None:
    client = Client(server.address)
    stream = RawStream(server.address)
    client.publish("a")
    stream.first()
    server.stop()
    assert stream.end() is grpc.StatusCode.UNAVAILABLE
    client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_says_that_it_is_ready_and_stops_within_a_second(tmp_path: Path, number: signal.Signals) -> None:
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "poolhouse_pubsub", "--port", "0", "--port-file", str(port_file)],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    address = line.strip().rpartition("=")[2]
    assert address == f"127.0.0.1:{port_file.read_text().strip()}"
    client = Client(address)
    client.publish("a")
    client.close()
    stream = RawStream(address)
    stream.first()
    started = time.monotonic()
    process.send_signal(number)
    assert process.wait(5) == 0
    assert time.monotonic() - started < 1.5
    assert process.stdout.read() == ""
    process.stdout.close()
    assert stream.end() is grpc.StatusCode.UNAVAILABLE


def test_it_uses_no_processor_time_while_idle(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "poolhouse_pubsub", "--port", "0"], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        client = Client(process.stdout.readline().strip().rpartition("=")[2])
        client.publish("leased")
        client.pull()
        watched = psutil.Process(process.pid)
        before = sum(watched.cpu_times()[:2])
        time.sleep(2)
        assert sum(watched.cpu_times()[:2]) - before <= 0.03
        client.close()
    finally:
        process.terminate()
        process.wait(5)
        if process.stdout is not None:
            process.stdout.close()


def test_compressed_requests_are_taken(server: EmulatorServer, client: Client) -> None:
    request = PublishRequest(topic=TOPIC, messages=[{"data": b"x" * 100_000}])
    with grpc.insecure_channel(server.address, compression=grpc.Compression.Gzip) as channel:
        channel.unary_unary("/google.pubsub.v1.Publisher/Publish")(PublishRequest.serialize(request), timeout=5)
    assert client.pull()[0].message.data == b"x" * 100_000


def test_advancing_the_clock_ends_a_backoff_of_ten_minutes_at_once(server: EmulatorServer, client: Client) -> None:
    client.publish("a")
    started = time.monotonic()
    for attempt in range(5):
        (message,) = client.pull()
        client.subscriber.modify_ack_deadline(
            subscription=SUBSCRIPTION, ack_ids=[message.ack_id], ack_deadline_seconds=0
        )
        assert server.inspect(SUBSCRIPTION).delayed == 1, attempt
        server.clock.advance(600)
    assert time.monotonic() - started < 5
    assert server.inspect(SUBSCRIPTION).messages[0].delivery_attempt == 6


def test_real_time_expires_leases_by_itself(server: EmulatorServer, client: Client) -> None:
    other = "projects/server-tests/subscriptions/plain"
    client.subscriber.create_subscription(name=other, topic=TOPIC)
    client.publish("a")
    request = {"subscription": other, "max_messages": 1}
    (message,) = client.subscriber.pull(request).received_messages
    client.subscriber.modify_ack_deadline(subscription=other, ack_ids=[message.ack_id], ack_deadline_seconds=1)
    started = time.monotonic()
    (again,) = client.subscriber.pull(request, timeout=5).received_messages
    assert again.message.message_id == message.message.message_id
    assert 0.5 < time.monotonic() - started < 3


def test_a_manual_clock_stands_still() -> None:
    with EmulatorServer(clock=Clock(manual=True, start=1_800_000_000)) as server:
        assert server.clock.now() == 1_800_000_000
        server.clock.advance(5)
        assert server.clock.now() == 1_800_000_005


def test_callbacks_follow_the_clock_in_order(server: EmulatorServer) -> None:
    fired: list[tuple[str, float]] = []
    now = server.clock.now()
    server.clock.call_at(now + 7200, lambda moment: fired.append(("second", moment - now)))
    server.clock.call_at(now + 3600, lambda moment: fired.append(("first", moment - now)))
    server.clock.advance(10_000)
    assert fired == [("first", 3600), ("second", 7200)]


def test_the_clock_does_not_go_back_nor_past_the_year_9999(server: EmulatorServer) -> None:
    with pytest.raises(ValueError, match="forward only"):
        server.clock.advance(-1)
    for seconds in (-1, 1e12, 10**400, float("nan"), True, "1", None):
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(server, "POST", "/admin/clock/advance", {"seconds": seconds})
        with caught.value:
            assert caught.value.code == 400


def test_an_empty_pull_is_answered_after_a_bounded_wait(
    server: EmulatorServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < subscriber.PULL_WAIT_S < 60  # of the client's 60 s
    monkeypatch.setattr(subscriber, "PULL_WAIT_S", 0.1)
    assert client.pull() == []
    assert server.inspect(SUBSCRIPTION).consumers == 0


def test_the_administration_shows_and_advances_and_empties(server: EmulatorServer, client: Client) -> None:
    client.publish("a", "b")
    client.pull(1)
    counts = call(server, "GET", "/admin/subscriptions/server-tests/orders-worker")
    assert (counts["undelivered"], counts["outstanding"], counts["unacked"]) == (1, 1, 2)
    assert [each["subscription"] for each in call(server, "GET", "/admin/subscriptions")["subscriptions"]] == [
        SUBSCRIPTION
    ]
    shown = call(server, "GET", "/admin/subscriptions/server-tests/orders-worker?messages=1")["messages"]
    assert [each["state"] for each in shown] == ["outstanding"]
    before = call(server, "GET", "/admin/clock")["now"]
    assert call(server, "POST", "/admin/clock/advance", {"seconds": 3600})["now"] >= before + 3600
    with urllib.request.urlopen(urllib.request.Request(f"http://{server.address}/reset", method="POST")) as answer:
        assert answer.status == 200
    assert call(server, "GET", "/admin/subscriptions") == {"subscriptions": []}
    with pytest.raises(NotFound):
        client.subscriber.get_subscription(subscription=SUBSCRIPTION)


def test_an_unknown_fault_or_call_is_refused(server: EmulatorServer) -> None:
    for method, path, body, code in [
        ("POST", "/admin/faults", {"kind": "nonsense"}, 400),
        ("POST", "/admin/faults", {"kind": "error", "probability": 2}, 400),
        ("POST", "/admin/faults", {"kind": "error", "code": "NO_SUCH"}, 400),
        ("GET", "/admin/subscriptions/p/absent?messages=1_0", None, 400),
        ("GET", "/admin/nonsense", None, 404),
        ("GET", "/admin/subscriptions/p/absent", None, 404),
    ]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(server, method, path, body)
        with caught.value:
            assert caught.value.code == code
            assert json.load(caught.value)["error"]["message"]


def test_an_rpc_fails_as_often_as_asked(server: EmulatorServer, client: Client) -> None:
    server.faults.add("error", methods=("GetTopic",), count=2, code=Code.RESOURCE_EXHAUSTED)
    for _ in range(2):
        with pytest.raises(ResourceExhausted):
            client.publisher.get_topic(topic=TOPIC, retry=None)
    client.publisher.get_topic(topic=TOPIC, retry=None)
    client.subscriber.get_subscription(subscription=SUBSCRIPTION, retry=None)


def test_the_client_gets_over_unavailable_publishes_and_a_lost_answer_makes_a_duplicate(
    server: EmulatorServer, client: Client
) -> None:
    server.faults.add("error", methods=("Publish",), count=2)
    client.publish("a")
    server.faults.add("lose_publish_answer", count=1)
    client.publish("b")
    assert sorted(each.data for each in server.inspect(SUBSCRIPTION).messages) == [b"a", b"b", b"b"]


def test_a_duplicate_is_the_same_message_again(server: EmulatorServer, client: Client) -> None:
    server.faults.add("duplicate", count=1)
    client.publish("a")
    one = client.pull()
    two = client.pull() if len(one) == 1 else []
    ids = [message.message.message_id for message in (*one, *two)]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    client.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[each.ack_id for each in (*one, *two)])
    assert server.inspect(SUBSCRIPTION).unacked == 0


def test_dropped_acks_bring_the_message_again(server: EmulatorServer, client: Client) -> None:
    server.faults.add("drop_ack", count=1)
    client.publish("a")
    (message,) = client.pull()
    client.subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[message.ack_id])
    server.clock.advance(700)
    assert len(client.pull()) == 1


def test_a_delayed_message_comes_later_and_only_once_late(server: EmulatorServer, client: Client) -> None:
    server.faults.add("delay", seconds=60)
    client.publish("a")
    request = {"subscription": SUBSCRIPTION, "max_messages": 1}
    waiting = threading.Thread(target=lambda: client.subscriber.pull(request, timeout=8))
    waiting.start()
    until(lambda: server.inspect(SUBSCRIPTION).delayed == 1, "a delayed message", timeout_s=10)
    server.clock.advance(60)
    until(lambda: server.inspect(SUBSCRIPTION).outstanding == 1, "an outstanding message", timeout_s=10)
    waiting.join()


def test_faults_are_the_same_with_the_same_seed() -> None:
    orders = []
    for _ in range(2):
        with EmulatorServer(seed=7) as server:
            client = Client(server.address)
            server.faults.add("reorder")
            client.publish(*map(str, range(20)))
            orders.append([each.message.data for each in client.pull(20)])
            client.close()
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0], key=int)


def test_a_stream_that_is_reset_is_opened_again_by_the_client_and_nothing_is_lost(
    server: EmulatorServer, client: Client
) -> None:
    got: set[bytes] = set()
    server.faults.add("reset_stream", count=3)
    opened = client.subscriber.subscribe(SUBSCRIPTION, lambda message: (got.add(message.data), message.ack()))
    for number in range(10):
        client.publish(str(number))
    until(lambda: len(got) == 10, "ten messages", timeout_s=10)
    opened.cancel()
    opened.result(5)


def test_a_restart_ends_streams_and_leases_and_keeps_messages(server: EmulatorServer, client: Client) -> None:
    client.publish("a")
    (held,) = client.pull()
    server.faults.restart()
    assert server.inspect(SUBSCRIPTION).outstanding == 0
    (again,) = client.pull()
    assert again.message.message_id == held.message.message_id
    assert again.ack_id != held.ack_id


def test_cleared_faults_are_gone(server: EmulatorServer, client: Client) -> None:
    fault = server.faults.add("error")
    with pytest.raises(ServiceUnavailable):
        client.publisher.get_topic(topic=TOPIC, retry=None)
    assert call(server, "GET", "/admin/faults")["faults"][0]["happened"] == fault.happened == 1
    server.faults.clear()
    client.publisher.get_topic(topic=TOPIC, retry=None)


def test_what_is_declared_is_there_before_the_port_answers(tmp_path: Path) -> None:
    declared = tmp_path / "topology.toml"
    declared.write_text(
        'topics = ["orders", { name = "projects/other/topics/audit", labels = { team = "billing" } }]\n'
        'subscriptions = [{ name = "orders-worker", topic = "orders", ack_deadline_seconds = 30 }]\n'
    )
    with EmulatorServer(topology=declared, project="declared") as server:
        assert set(server.emulator.topics) == {"projects/declared/topics/orders", "projects/other/topics/audit"}
        found = server.emulator.subscriptions["projects/declared/subscriptions/orders-worker"]
        assert found.config.ack_deadline_seconds == 30


def test_what_a_data_folder_holds_is_not_declared_anew(tmp_path: Path) -> None:
    declared = {"topics": ["orders"], "subscriptions": [{"name": "worker", "topic": "orders"}]}
    for round_ in range(2):
        with EmulatorServer(topology=declared, project="declared", data_dir=tmp_path) as server:
            assert len(server.emulator.subscriptions) == 1
            os.environ["PUBSUB_EMULATOR_HOST"] = server.address
            publisher = pubsub_v1.PublisherClient()
            publisher.publish("projects/declared/topics/orders", b"x").result(5)
            publisher.stop()
            publisher.transport.close()
            assert server.inspect("projects/declared/subscriptions/worker").unacked == round_ + 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nonsense = 1", "topics and subscriptions"),
        ('topics = ["ab"]', "Invalid .topics. name"),
        ('subscriptions = [{ name = "worker", topic = "absent" }]', "not found"),
        ('topics = ["orders"]\nsubscriptions = [{ topic = "orders" }]', "no name"),
        ("topics = [", "can't be read"),
        ('topics = [{ name = "orders", nonsense = 1 }]', "nonsense"),
    ],
)
def test_a_topology_that_cannot_be_made_is_one_clear_error(tmp_path: Path, content: str, reason: str) -> None:
    declared = tmp_path / "topology.toml"
    declared.write_text(content)
    with pytest.raises(TopologyError, match=reason):
        EmulatorServer(topology=declared).start()
