"""Publishing while the queue's connections fail."""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import wait as wait_for

import pytest

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging import pubsub_transport
from poolhouse.pipeline.messaging.pubsub_transport import Message, PubSubTopics
from poolhouse_pubsub.server import EmulatorServer


def test_connections_that_are_replaced_while_they_carry_requests_leave_none_without_an_answer(
    poolhouse_settings: Settings, poolhouse_emulator: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub_transport, "RECONNECT_AFTER_S", 0.01)
    topic = poolhouse_settings.topology.default_queue.topic
    publishing = PubSubTopics(poolhouse_settings.google_cloud_project)
    fault = poolhouse_emulator.faults.add("error", methods=("Publish",), probability=0.5)
    slow = poolhouse_emulator.faults.add("latency", methods=("Publish",), probability=0.5, seconds=0.01)
    try:
        sent: list[Future[object]] = []
        end = time.monotonic() + 2
        while time.monotonic() < end:
            sent += [publishing.publish(topic, [Message(b"x")], timeout_s=3) for _ in range(8)]  # type: ignore[misc]
            time.sleep(0.02)
        assert not wait_for(sent, timeout=20).not_done
    finally:
        poolhouse_emulator.faults.remove(fault)
        poolhouse_emulator.faults.remove(slow)
    assert any(future.exception() is None for future in sent)
    publishing.close()
