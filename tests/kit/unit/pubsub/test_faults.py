"""Faults: drawn from the seed alone, on what they were asked for alone, and never against what the service promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.faults import Fault
from poolhouse_pubsub.control.inspection import inspect
from poolhouse_pubsub.status import Code, StatusError
from poolhouse_pubsub.transport.streaming import StreamingPull
from tests.kit.unit.pubsub.world import SUBSCRIPTION, TOPIC, World, data

TWIN = "projects/core/subscriptions/twin"


def call(world: World, method: str, request: Any) -> Any:
    """One RPC as a client makes it; the code of a refusal."""
    try:
        return asyncio.run(world.service.call(world.service.methods[f"google.pubsub.v1.{method}"], request))
    except StatusError as error:
        return error.code


def story(seed: int) -> Iterator[Any]:
    """What a client sees of many calls under every kind of fault, each by chance."""
    world = World(seed=seed)
    for kind in ("error", "duplicate", "reorder", "delay", "drop_ack", "lose_publish_answer"):
        world.faults.add(Fault(kind=kind, probability=0.4, seconds=5 if kind == "delay" else 0))
    for number in range(40):
        request = protos.PublishRequest(topic=TOPIC, messages=[{"data": f"{number}-{each}".encode()} for each in "ab"])
        answer = call(world, "Publisher/Publish", request)
        yield answer if isinstance(answer, Code) else list(answer.message_ids)
        held = world.pull(3)
        yield data(held)
        if held:
            ids = [message.ack_id for message in held]
            yield call(
                world, "Subscriber/Acknowledge", protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=ids)
            )
        world.advance(2)
    yield [fault.happened for fault in world.faults.all()]


def test_every_kind_of_fault_is_the_same_with_the_same_seed_and_another_with_another() -> None:
    first = list(story(7))
    assert first == list(story(7))
    assert first != list(story(8))
    assert all(happened > 0 for happened in first[-1])


def test_a_fault_of_one_subscription_leaves_the_others_and_calls_on_none_alone() -> None:
    world = World()
    world.subscribe(TWIN)
    world.publish("a")
    (held,), (twin,) = world.pull(), world.pull(name=TWIN)
    world.faults.add(Fault(kind="drop_ack", subscription=SUBSCRIPTION))
    world.faults.add(Fault(kind="error", methods=("GetSubscription", "GetTopic"), subscription=SUBSCRIPTION))
    assert call(world, "Subscriber/GetSubscription", protos.GetSubscriptionRequest(subscription=TWIN)).name == TWIN
    get = protos.GetSubscriptionRequest(subscription=SUBSCRIPTION)
    assert call(world, "Subscriber/GetSubscription", get) is Code.UNAVAILABLE
    assert call(world, "Publisher/GetTopic", protos.GetTopicRequest(topic=TOPIC)).name == TOPIC
    for name, message in ((SUBSCRIPTION, held), (TWIN, twin)):
        request = protos.AcknowledgeRequest(subscription=name, ack_ids=[message.ack_id])
        assert call(world, "Subscriber/Acknowledge", request) == protos.Empty()
    world.advance(3600)
    assert data(world.pull()) == ["a"]
    assert world.pull(name=TWIN) == []


def test_a_message_that_is_delayed_is_waited_for_and_comes_once() -> None:
    world = World()
    world.faults.add(Fault(kind="delay", seconds=5))
    world.publish("a", "b")
    assert world.pull() == []
    shown = inspect(world.emulator, SUBSCRIPTION)
    assert (shown.unacked, shown.delayed, len(shown.messages)) == (2, 2, 2)
    world.advance(4.9)
    assert world.pull() == []
    world.advance(0.1)
    held = world.pull()
    assert data(held) == ["a", "b"]
    world.ack(*held)
    world.advance(3600)
    assert world.pull() == []
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 0


@pytest.mark.parametrize("end", [World.ack, World.nack])
def test_a_duplicate_counts_for_nothing(end: Callable[..., Any]) -> None:
    world = World()
    world.faults.add(Fault(kind="duplicate", count=1))
    world.publish("a")
    [original] = world.pull()
    [copy] = world.pull()
    assert (copy.data, copy.message_id) == (original.data, original.message_id)
    end(world, copy)
    shown = inspect(world.emulator, SUBSCRIPTION)
    assert (shown.unacked, shown.outstanding, shown.finished) == (1, 1, 0)
    assert world.pull() == []
    world.nack(original)
    [again] = world.pull()
    world.ack(again)
    assert inspect(world.emulator, SUBSCRIPTION).finished == 1


def test_an_ack_of_a_malformed_id_is_refused_although_acks_are_dropped() -> None:
    world = World()
    world.faults.add(Fault(kind="drop_ack"))
    request = protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=["nonsense"])
    assert call(world, "Subscriber/Acknowledge", request) is Code.INVALID_ARGUMENT


def test_with_exactly_once_a_dropped_ack_is_reported_and_can_be_made_again() -> None:
    world = World(enable_exactly_once_delivery=True)
    world.publish("a")
    (held,) = world.pull()
    world.faults.add(Fault(kind="drop_ack", count=1))
    request = protos.AcknowledgeRequest(subscription=SUBSCRIPTION, ack_ids=[held.ack_id])
    with pytest.raises(StatusError) as caught:
        world.service.subscriber.acknowledge(request)
    (info,) = caught.value.details
    assert dict(info.metadata) == {held.ack_id: "TRANSIENT_FAILURE_OTHER"}
    assert world.service.subscriber.acknowledge(request) == protos.Empty()
    world.advance(3600)
    assert world.pull() == []


def test_with_exactly_once_a_stream_gets_the_failure_of_a_dropped_ack() -> None:
    world = World(enable_exactly_once_delivery=True)
    world.publish("a")
    (held,) = world.pull()
    world.faults.add(Fault(kind="drop_ack"))
    first = protos.StreamingPullRequest(
        subscription=SUBSCRIPTION, stream_ack_deadline_seconds=10, ack_ids=[held.ack_id]
    )
    requests = [first.SerializeToString(), None]
    responses: list[Any] = []

    async def read() -> bytes | None:
        return requests.pop(0)

    async def write(raw: bytes) -> None:
        responses.append(protos.StreamingPullResponse.FromString(raw))

    asyncio.run(StreamingPull(world.service, write).run(read))
    (confirmed,) = [each.acknowledge_confirmation for each in responses if each.HasField("acknowledge_confirmation")]
    assert list(confirmed.temporary_failed_ack_ids) == [held.ack_id]
    assert list(confirmed.ack_ids) == []
