"""The stored form of a message."""

from __future__ import annotations

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.core.message import seal

US = 1_800_000_000_123_456


@pytest.mark.parametrize("published_us", [0, 1, US, US // 1_000_000 * 1_000_000])
@pytest.mark.parametrize("first_id", [1, 9, 10**9, 10**18])
def test_a_sealed_message_is_that_of_the_client_with_id_and_time(published_us: int, first_id: int) -> None:
    drafts = [
        protos.PubsubMessage(data=b"x" * 3_000, attributes={"a": "b"}, ordering_key="key"),
        protos.PubsubMessage(attributes={"é": "\x00"}),
    ]
    for place, message in enumerate(seal(drafts, first_id=first_id, published_us=published_us)):
        expected = protos.PubsubMessage()
        expected.CopyFrom(drafts[place])
        expected.message_id = str(first_id + place)
        expected.publish_time.FromMicroseconds(published_us)
        assert message.parse() == expected
        assert (message.id, message.key, message.published_us) == (
            first_id + place,
            expected.ordering_key,
            published_us,
        )


@pytest.mark.parametrize("fields", [{"message_id": "7"}, {"publish_time": {"seconds": 7}}, {"publish_time": {}}])
def test_what_a_client_set_of_them_is_not_stored_at_all(fields: dict[str, object]) -> None:
    plain = protos.PubsubMessage(data=b"x")
    [expected] = seal([plain], first_id=1, published_us=US)
    [message] = seal([protos.PubsubMessage(data=b"x", **fields)], first_id=1, published_us=US)
    assert message.wire == expected.wire
