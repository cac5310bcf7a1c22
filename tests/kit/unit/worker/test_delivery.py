"""What the client library is asked for: it drops what it can't send, and with it the acks of other messages."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1.types import ModifyAckDeadlineRequest, PubsubMessage

from poolhouse.pipeline.tasks.dead_letter_attributes import EARLIER_DELIVERIES
from poolhouse.worker.runtime.delivery import PubSubDelivery


class Recorded(list[Any]):
    """The queue of requests of the client library's dispatcher."""

    put = list.append


def delivery(requests: Recorded, *, attempt: int = 1, **attributes: str) -> PubSubDelivery:
    message = Message(PubsubMessage(data=b"{}", attributes=attributes)._pb, "ack-1", attempt, requests)  # type: ignore[arg-type]
    return PubSubDelivery(message, "default", lambda *_: pytest.fail("nothing is published"), on_end=lambda: None)


@pytest.mark.parametrize(
    ("seconds", "deadline_s"),
    [(0, 1), (0.2, 1), (1.0, 1), (59.01, 60), (598.9, 599), (599.5, 600), (600, 600), (6e9, 600), (math.inf, 600)],
)
def test_any_wait_is_a_deadline_that_the_service_takes(seconds: float, deadline_s: int) -> None:
    requests = Recorded()
    delivery(requests).defer(seconds)
    asked, dropped = requests
    # The type that goes over the wire takes whole numbers alone.
    assert ModifyAckDeadlineRequest(ack_deadline_seconds=asked.seconds).ack_deadline_seconds == deadline_s
    assert type(asked.seconds) is int
    assert type(dropped).__name__ == "DropRequest"


@pytest.mark.parametrize(("earlier", "attempt"), [("7", 10), ("", 3), ("x", 3), ("-4", 3), ("9" * 50, 3)])
def test_deliveries_before_a_message_went_back_count(earlier: str, attempt: int) -> None:
    assert delivery(Recorded(), attempt=3, **{EARLIER_DELIVERIES: earlier}).attempt == attempt
