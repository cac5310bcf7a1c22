"""What a worker asks of the queues."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from google.api_core import exceptions as google_errors
from google.cloud.pubsub_v1.subscriber.futures import StreamingPullFuture

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError
from poolhouse.testing.doubles import MemoryStore
from poolhouse.worker import Payload
from poolhouse.worker.registry import Handler, Registry
from poolhouse.worker.runtime import worker as runtime
from poolhouse.worker.runtime.pulling import streams
from poolhouse.worker.runtime.pulling.intake import messages_held
from poolhouse.worker.runtime.worker import Worker, WorkerOptions


def handler(**options: Any) -> Handler:
    return Handler(task_type="t", function=lambda payload, ctx: None, payload_type=Payload, **options)


@pytest.mark.parametrize(
    ("handlers", "held"),
    [
        ([handler()], 16),  # little beyond what runs: another worker may be free
        ([handler(), handler(record=False)], 56),
        ([handler(), handler(record=False, queue="bulk")], 16),  # short tasks of another queue
        ([handler(), handler(rate_per_process="1/m")], 1016),
        ([handler(max_concurrency_per_process=1, record=False)], 1056),
    ],
)
def test_a_worker_holds_more_messages_where_its_tasks_are_short_or_have_to_wait(
    handlers: list[Handler], held: int
) -> None:
    assert messages_held("default", 8, handlers, topology=topology.load("pipeline.toml")) == held


class Refusing:
    """A subscriber whose first streams Pub/Sub refuses: the grant of the role is not in force yet."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.streams: list[StreamingPullFuture] = []
        self.paths: list[str] = []
        self.managers: list[Mock] = []
        self.opened = threading.Event()

    def subscribe(self, path: str, receive: object, **options: object) -> StreamingPullFuture:
        self.paths.append(path)
        self.managers.append(Mock())
        stream = StreamingPullFuture(self.managers[-1])
        self.streams.append(stream)
        if len(self.streams) <= self.refusals:
            threading.Thread(target=stream.set_exception, args=(google_errors.PermissionDenied("no role"),)).start()
        else:
            self.opened.set()
        return stream

    def close(self) -> None:
        for stream in self.streams:
            if not stream.done():
                stream.set_result(True)


#: Starts a worker that so many streams are refused to.
Start = Callable[[int], tuple[Worker, Refusing]]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(streams, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:9")

    def start(refusals: int) -> tuple[Worker, Refusing]:
        subscriber = Refusing(refusals)
        monkeypatch.setattr(runtime, "open_subscriber", lambda: subscriber)
        environment = Settings(google_cloud_project="unit", bucket_name="unit-bucket", worker_grace_s=0.5)
        queue = environment.topology.default_queue.name
        worker = Worker(environment, WorkerOptions(queues=(queue,)), registry=Registry([]), store=MemoryStore())
        worker.start()
        return worker, subscriber

    return start


def test_a_worker_waits_until_it_may_pull(refused: Start) -> None:
    worker, subscriber = refused(2)
    assert subscriber.opened.wait(10)
    worker.stop("the test is over")
    assert worker.wait(10)
    assert len(subscriber.streams) == 3


def test_a_worker_whose_stream_ended_with_any_error_ends_with_it(refused: Start) -> None:
    worker, subscriber = refused(0)
    subscriber.streams[0].set_exception(SystemExit(3))
    with pytest.raises(SystemExit):
        worker.wait(10)


def test_a_worker_that_can_not_end_in_order_ends_with_the_reason(refused: Start) -> None:
    worker, subscriber = refused(0)

    def broken() -> None:
        raise OSError("the connection is gone")

    subscriber.close = broken  # type: ignore[method-assign]
    worker.stop("the test is over")
    with pytest.raises(OSError, match="the connection is gone"):
        worker.wait(10)


def test_a_worker_that_may_never_pull_says_so(refused: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "GRANT_S", 0.1)
    worker, _ = refused(10_000)
    with pytest.raises(ConfigError, match=r"may not pull from .*roles/pubsub\.subscriber"):
        worker.wait(10)
