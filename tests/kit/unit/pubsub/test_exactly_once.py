"""Exactly-once delivery: ack ids count once, and not after their lease."""

from __future__ import annotations

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.core.subscription import AckResult
from poolhouse_pubsub.status import StatusError
from tests.kit.unit.pubsub.world import SUBSCRIPTION, World


@pytest.fixture
def world() -> World:
    return World(enable_exactly_once_delivery=True)


def failures(error: StatusError) -> dict[str, str]:
    (info,) = error.details
    assert (info.reason, info.domain) == ("EXACTLY_ONCE_ACKID_FAILURE", "pubsub.googleapis.com")
    return dict(info.metadata)


def test_a_used_id_fails(world: World) -> None:
    world.publish("a")
    held = world.pull()
    assert world.ack(*held) == [AckResult.DONE]
    assert world.ack(*held) == [AckResult.STALE]


def test_an_expired_id_can_neither_ack_nor_extend(world: World) -> None:
    world.publish("a")
    held = world.pull()
    world.advance(10)
    assert world.ack(*held) == [AckResult.STALE]
    assert world.modify(*held, seconds=60) == [AckResult.STALE]
    assert len(world.pull()) == 1


def test_a_request_names_the_ids_that_failed_and_the_others_succeed(world: World) -> None:
    world.publish("a", "b")
    one, two = world.pull()
    world.ack(two)
    request = protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=[one.ack_id, two.ack_id, "nonsense"])
    with pytest.raises(StatusError) as caught:
        world.service.subscriber.acknowledge(request)
    assert failures(caught.value) == {
        two.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID",
        "nonsense": "PERMANENT_FAILURE_INVALID_ACK_ID",
    }
    world.advance(3600)
    assert world.pull() == []


def test_an_id_that_a_request_repeats_is_no_failure(world: World) -> None:
    world.publish("a")
    (held,) = world.pull()
    request = protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=[held.ack_id, held.ack_id])
    assert world.service.subscriber.acknowledge(request) == protos.Empty()


def test_modifying_a_used_id_names_it(world: World) -> None:
    world.publish("a")
    (held,) = world.pull()
    world.ack(held)
    request = protos.ModifyAckDeadlineRequest(subscription=SUBSCRIPTION, ack_ids=[held.ack_id], ack_deadline_seconds=10)
    with pytest.raises(StatusError) as caught:
        world.service.subscriber.modify_ack_deadline(request)
    assert failures(caught.value) == {held.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}


def test_without_exactly_once_one_foreign_id_fails_the_whole_request_and_a_used_one_is_no_error() -> None:
    world = World()
    world.publish("a", "b")
    one, two = world.pull()
    world.ack(two)
    with pytest.raises(StatusError, match="Invalid ack id"):
        world.service.subscriber.acknowledge(
            protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=[one.ack_id, "nonsense"])
        )
    world.service.subscriber.acknowledge(
        protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=[one.ack_id, two.ack_id])
    )
