"""Our Pub/Sub emulator beside Google's: start, memory, publish, consume.

    python -m tests.kit.bench.pubsub [--messages 20000] [--queued 1000000] [--only ours] [--json FILE] [--check]

Each emulator is a process of its own, the clients are in this one; both are measured in turn within one run, so a
machine that is shared disturbs both. With `--check`, exits 1 if ours consumes less than 5 times as fast as Google's on
a stream, or is slower to start.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.cloud import pubsub_v1
from rich.console import Console
from rich.table import Table

from poolhouse_pubsub import protos
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.conformance.semantics.targets import find_jar, start_google

DATA = b"x" * 1024
BATCH = 500
#: Repetitions of what takes a fraction of a second.
ROUNDS = 5
#: What `--check` asks of streaming consumption, in times Google's.
LEAST_RATIO = 5.0

#: Rows of the table: key, text, unit, and whether more is better.
ROWS = (
    ("start_s", "start to first RPC", "s", False),
    ("start_within_ms", "start within a Python process, once imported", "ms", False),
    ("rss_idle_mb", "RSS idle", "MB", False),
    ("publish", "publish, stock client", "messages/s", True),
    ("publish_raw", f"publish, raw gRPC, {BATCH} a request", "messages/s", True),
    ("stream", "streaming pull + ack, stock client", "messages/s", True),
    ("unary", "unary pull of 1,000 + batch ack", "messages/s", True),
    ("rss_peak_mb", "RSS peak of the above", "MB", False),
    ("queue", "publish of the queued messages", "messages/s", True),
    ("queued_bytes", "memory for each queued message of 1 KiB", "bytes", False),
    ("queued_pull_ms", "unary pull of 100 from that queue", "ms", False),
    ("cpu_idle_ms", "processor time in 2 s of idling", "ms", False),
)


class Server:
    """One running emulator.

    Args:
        address: HOST:PORT.
        pid: Its process.
    """

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self.process = psutil.Process(pid)
        self.channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._number = 0

    def call(self, path: str, request: Any, response: Any, *, timeout: float = 60) -> Any:
        rpc = self.channel.unary_unary(
            f"/google.pubsub.v1.{path}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return rpc(request, timeout=timeout)

    def resources(self) -> tuple[str, str]:
        """A new topic with a subscription."""
        self._number += 1
        topic = f"projects/bench/topics/topic-{self._number}"
        subscription = f"projects/bench/subscriptions/subscription-{self._number}"
        self.call("Publisher/CreateTopic", protos.Topic(name=topic), protos.Topic)
        config = protos.Subscription(name=subscription, topic=topic, ack_deadline_seconds=600)
        self.call("Subscriber/CreateSubscription", config, protos.Subscription)
        return topic, subscription

    @property
    def rss_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    @property
    def processor_s(self) -> float:
        return float(sum(self.process.cpu_times()[:2]))

    def publish_raw(self, topic: str, count: int) -> float:
        """Publishes with several requests under way; returns messages a second."""
        request = protos.PublishRequest(topic=topic)
        for _ in range(BATCH):
            request.messages.add(data=DATA)
        raw = request.SerializeToString()
        rpc = self.channel.unary_unary("/google.pubsub.v1.Publisher/Publish")
        started = time.perf_counter()
        under_way: list[Any] = []
        for _ in range(count // BATCH):
            under_way.append(rpc.future(raw, timeout=120))
            if len(under_way) >= 8:
                under_way.pop(0).result()
        for call in under_way:
            call.result()
        return count / (time.perf_counter() - started)


@contextmanager
def ours() -> Iterator[tuple[float, Server]]:
    """Poolhouse's emulator, as anybody would start it; and the seconds to its first answer."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "poolhouse_pubsub", "--port", "0", "--port-file", str(port_file)],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    raise RuntimeError("our emulator did not start")
                time.sleep(0.002)
            server = Server(f"127.0.0.1:{port_file.read_text().strip()}", process.pid)
            yield _first_rpc(server, started), server
            server.channel.close()
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def google() -> Iterator[tuple[float, Server]]:
    """Google's emulator."""
    jar, java = find_jar(), shutil.which("java")
    if jar is None or java is None:
        raise RuntimeError("Google's emulator needs java and `gcloud components install pubsub-emulator`")
    started = time.perf_counter()
    process, address = start_google(java, jar)
    try:
        server = Server(address, process.pid)
        yield _first_rpc(server, started), server
        server.channel.close()
    finally:
        process.terminate()
        process.wait(20)


def start_within() -> float:
    """Seconds that a start in this process takes, the median of several."""

    def start() -> float:
        server = EmulatorServer()
        seconds = timed(server.start)
        server.stop()
        return seconds

    start()  # imports what only a running server needs
    return statistics.median(start() for _ in range(9))


def _first_rpc(server: Server, started: float) -> float:
    server.call("Publisher/ListTopics", protos.ListTopicsRequest(project="projects/bench"), protos.ListTopicsResponse)
    return time.perf_counter() - started


def measure(server: Server, *, messages: int, queued: int) -> dict[str, float]:
    """All measurements on one emulator."""
    os.environ["PUBSUB_EMULATOR_HOST"] = server.address
    found: dict[str, float] = {"rss_idle_mb": server.rss_bytes / 1e6}
    peak = Peak(server)
    topic, subscription = server.resources()
    found["publish"] = publish_stock(topic, messages)
    found["stream"] = consume_stock(subscription, messages)
    topic, subscription = server.resources()
    # Each of these takes a fraction of a second: the median of several, since other work disturbs a single one.
    rounds = [
        (server.publish_raw(topic, messages), consume_unary(server, subscription, messages)) for _ in range(ROUNDS)
    ]
    found["publish_raw"], found["unary"] = map(statistics.median, zip(*rounds, strict=True))
    found["rss_peak_mb"] = peak.end() / 1e6
    time.sleep(1)
    before = server.processor_s
    time.sleep(2)
    found["cpu_idle_ms"] = (server.processor_s - before) * 1000
    if queued:
        before_bytes = server.rss_bytes
        topic, subscription = server.resources()
        found["queue"] = server.publish_raw(topic, queued)
        found["queued_bytes"] = (server.rss_bytes - before_bytes) / queued
        times = [timed(lambda: pull(server, subscription, 100)) for _ in range(10)]
        found["queued_pull_ms"] = statistics.median(times) * 1000
    return found


class Peak:
    """The greatest RSS of a process between two moments."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._highest = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self._highest = max(self._highest, self._server.rss_bytes)

    def end(self) -> int:
        self._ended.set()
        self._thread.join()
        return self._highest


def timed(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def publish_stock(topic: str, count: int) -> float:
    settings = pubsub_v1.types.BatchSettings(max_messages=BATCH, max_bytes=5_000_000, max_latency=0.01)
    publisher = pubsub_v1.PublisherClient(settings)
    started = time.perf_counter()
    for future in [publisher.publish(topic, DATA) for _ in range(count)]:
        future.result(120)
    rate = count / (time.perf_counter() - started)
    publisher.stop()
    publisher.transport.close()
    return rate


def consume_stock(subscription: str, count: int) -> float:
    subscriber = pubsub_v1.SubscriberClient()
    lock, done = threading.Lock(), threading.Event()
    got = 0

    def take(message: Any) -> None:
        nonlocal got
        message.ack()
        with lock:
            got += 1
            if got >= count:
                done.set()

    started = time.perf_counter()
    opened = subscriber.subscribe(subscription, take)
    if not done.wait(300):
        raise RuntimeError(f"only {got} of {count} messages came within 300 s")
    rate = count / (time.perf_counter() - started)
    opened.cancel()
    opened.result(30)
    subscriber.close()
    return rate


def pull(server: Server, subscription: str, limit: int) -> list[str]:
    request = protos.PullRequest(subscription=subscription, max_messages=limit)
    answer = server.call("Subscriber/Pull", request, protos.PullResponse)
    return [message.ack_id for message in answer.received_messages]


def consume_unary(server: Server, subscription: str, count: int) -> float:
    started = time.perf_counter()
    got = 0
    while got < count:
        ids = pull(server, subscription, 1000)
        if ids:
            request = protos.AcknowledgeRequest(subscription=subscription, ack_ids=ids)
            server.call("Subscriber/Acknowledge", request, protos.Empty)
        got += len(ids)
    return count / (time.perf_counter() - started)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kit.bench.pubsub", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=20_000, help="messages of 1 KiB in each measurement")
    parser.add_argument("--queued", type=int, default=1_000_000, help="messages held at once; 0 leaves it out")
    parser.add_argument("--only", choices=["ours", "google"], help="measures one emulator")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exits 1 if ours is not as fast as it should be")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for name, start in (("ours", ours), ("google", google)):
        if options.only in (None, name):
            with start() as (seconds, server):
                figures[name] = {"start_s": seconds}
                if name == "ours":
                    figures[name]["start_within_ms"] = start_within() * 1000
                figures[name] |= measure(server, messages=options.messages, queued=options.queued)
    show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.check and len(figures) == 2:
        stream = figures["ours"]["stream"] / figures["google"]["stream"]
        return int(stream < LEAST_RATIO or figures["ours"]["start_s"] > figures["google"]["start_s"])
    return 0


def show(figures: dict[str, dict[str, float]]) -> None:
    """Prints the table."""
    table = Table(title=f"Pub/Sub emulators, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    table.add_column("")
    for name in ("ours", "Google's", "ours better by"):
        table.add_column(name, justify="right")
    for key, text, unit, more in ROWS:
        mine, theirs = (figures.get(name, {}).get(key) for name in ("ours", "google"))
        if mine is None and theirs is None:
            continue
        ratio = f"{(mine / theirs if more else theirs / mine):.1f}×" if mine and theirs else ""
        table.add_row(text, _cell(mine, unit), _cell(theirs, unit), ratio)
    Console(width=130).print(table)


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:,.2f} {unit}" if value < 10 else f"{value:,.0f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
