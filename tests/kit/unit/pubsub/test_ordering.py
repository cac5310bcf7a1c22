"""Ordering keys: what is delivered to whom, and what comes again after a failure."""

from __future__ import annotations

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.core.subscription import AckResult
from tests.kit.unit.pubsub.world import World, data


def ordered(**fields: object) -> World:
    return World(enable_message_ordering=True, **fields)


def test_one_pull_may_carry_several_messages_of_a_key_in_order() -> None:
    world = ordered()
    world.publish("1", "2", "3", key="k")
    assert data(world.pull()) == ["1", "2", "3"]


def test_a_further_pull_gets_nothing_of_a_key_that_has_outstanding_messages() -> None:
    world = ordered()
    world.publish("1", "2", key="k")
    world.publish("other", key="l")
    first = world.pull(1)
    assert data(first) == ["1"]
    assert data(world.pull()) == ["other"]
    world.ack(*first)
    assert data(world.pull()) == ["2"]


def test_all_outstanding_messages_of_a_key_go_to_one_stream_in_order() -> None:
    world = ordered()
    one, two = world.stream(), world.stream()
    for number in range(20):
        world.publish(str(number), key="k")
    assert sorted(map(len, (one.got, two.got))) == [0, 20]
    assert one.data + two.data == [str(number) for number in range(20)]


def test_a_key_stays_with_its_stream_after_everything_was_acked() -> None:
    world = ordered()
    one, two = world.stream(), world.stream()
    world.publish("1", key="k")
    first = one if one.got else two
    world.ack(*first.got)
    for number in range(2, 6):
        world.publish(str(number), key="k")
    assert first.data == ["1", "2", "3", "4", "5"]


def test_a_key_moves_only_when_nothing_of_it_is_outstanding_any_more() -> None:
    world = ordered()
    one = world.stream()
    world.publish("1", "2", key="k")
    one.close()
    two = world.stream()
    world.publish("3", key="k")
    assert two.data == []
    world.advance(10)
    assert two.data == ["1", "2", "3"]


def test_a_stream_with_the_same_client_id_takes_its_keys_over() -> None:
    world = ordered()
    one = world.stream(token="client")
    world.publish("1", key="k")
    one.close()
    other, again = world.stream(), world.stream(token="client")
    world.publish("2", key="k")
    assert (other.data, again.data) == ([], ["2"])


def test_a_client_with_several_streams_gets_a_key_on_one_of_them_and_takes_over_that_ones_keys() -> None:
    world = ordered()
    one, two = world.stream(token="client"), world.stream(token="client")
    for number in range(10):
        world.publish(str(number), key="k")
    taker, other = (one, two) if one.got else (two, one)
    assert (len(taker.got), len(other.got)) == (10, 0)
    taker.close()
    again = world.stream(token="client")
    world.publish("10", key="k")
    assert (other.data, again.data) == ([], ["10"])


@pytest.mark.parametrize("fail", ["nack", "expiry"])
def test_a_failed_message_brings_all_later_ones_of_its_key_again_even_acked_ones(fail: str) -> None:
    world = ordered()
    world.publish("1", "2", "3", key="k")
    world.publish("x", key="l")
    held = {message.data: message for message in world.pull()}
    world.ack(held["2"], held["3"], held["x"])
    if fail == "nack":
        world.nack(held["1"])
    else:
        world.advance(10)
    assert data(world.pull()) == ["1", "2", "3"]


def test_a_failure_leaves_the_earlier_messages_alone() -> None:
    world = ordered()
    stream = world.stream()
    world.publish("1", "2", "3", key="k")
    world.nack(stream.got[1])
    assert stream.data == ["1", "2", "3", "2", "3"]
    assert world.ack(stream.got[0]) == [AckResult.DONE]


def test_acks_out_of_turn_count_once_the_earlier_ones_come() -> None:
    world = ordered()
    world.publish("1", "2", "3", key="k")
    one, two, three = world.pull()
    world.ack(three)
    world.ack(two)
    world.ack(one)
    world.advance(3600)
    assert world.pull() == []


def test_an_ack_out_of_turn_counts_once() -> None:
    world = ordered()
    world.publish("1", "2", key="k")
    _, two = world.pull()
    assert (world.ack(two), world.ack(two)) == ([AckResult.DONE], [AckResult.STALE])


def test_the_later_messages_of_a_key_that_come_again_are_no_longer_held() -> None:
    world = ordered()
    stream = world.stream(max_messages=2)
    world.publish("1", "2", key="k")
    world.nack(stream.got[0])
    assert stream.data == ["1", "2", "1", "2"]


def test_while_a_key_waits_for_its_backoff_no_ack_of_its_later_messages_counts() -> None:
    world = ordered(retry_policy={"minimum_backoff": protos.Duration(seconds=10)})
    world.publish("1", "2", key="k")
    one, two = world.pull()
    world.nack(one)
    assert world.ack(two) == [AckResult.STALE]
    world.advance(10)
    assert data(world.pull()) == ["1", "2"]


def test_messages_without_a_key_are_not_ordered() -> None:
    world = ordered()
    world.publish("1", "2")
    first, _ = world.pull()
    world.nack(first)
    assert data(world.pull()) == ["1"]


def test_a_key_waits_for_the_backoff_of_its_failed_message_while_others_flow() -> None:
    world = ordered(retry_policy={"minimum_backoff": protos.Duration(seconds=10)})
    world.publish("1", "2", key="k")
    first, _ = world.pull()
    world.nack(first)
    world.publish("x", key="l")
    assert data(world.pull()) == ["x"]
    world.advance(9.9)
    assert world.pull() == []
    world.advance(0.1)
    assert data(world.pull()) == ["1", "2"]


def test_a_key_goes_on_after_a_message_that_was_dead_lettered() -> None:
    world = World()
    world.topic("projects/core/topics/dead")
    name = "projects/core/subscriptions/ordered"
    world.subscribe(
        name,
        enable_message_ordering=True,
        dead_letter_policy={"dead_letter_topic": "projects/core/topics/dead", "max_delivery_attempts": 5},
    )
    world.publish("1", "2", key="k")
    for _ in range(5):
        world.nack(world.pull(1, name=name)[0], name=name)
    assert data(world.pull(name=name)) == ["2"]


def test_only_the_failed_message_counts_an_attempt_not_those_that_come_again_with_it() -> None:
    world = World()
    world.topic("projects/core/topics/dead")
    name = "projects/core/subscriptions/ordered"
    world.subscribe(
        name,
        enable_message_ordering=True,
        dead_letter_policy={"dead_letter_topic": "projects/core/topics/dead"},
    )
    world.publish("1", "2", key="k")
    world.nack(world.pull(name=name)[0], name=name)
    assert [(message.data, message.attempt) for message in world.pull(name=name)] == [("1", 2), ("2", 1)]


def test_retention_drops_the_front_of_a_line_and_the_rest_goes_on() -> None:
    world = ordered(message_retention_duration=protos.Duration(seconds=600))
    world.publish("old", key="k")
    world.advance(300)
    world.publish("new", key="k")
    world.advance(301)
    assert data(world.pull()) == ["new"]


def test_with_exactly_once_an_ack_before_its_turn_fails_and_succeeds_later() -> None:
    world = ordered(enable_exactly_once_delivery=True)
    world.publish("1", "2", key="k")
    one, two = world.pull()
    assert world.ack(two) == [AckResult.UNORDERED]
    assert world.ack(one) == [AckResult.DONE]
    assert world.ack(two) == [AckResult.DONE]


def test_with_exactly_once_one_request_may_ack_a_key_in_any_order_of_its_ids() -> None:
    world = ordered(enable_exactly_once_delivery=True)
    world.publish("1", "2", "3", key="k")
    one, two, three = world.pull()
    assert world.ack(three, one, two) == [AckResult.DONE] * 3


def test_with_exactly_once_a_used_id_in_a_request_keeps_none_of_the_others_from_their_turn() -> None:
    world = ordered(enable_exactly_once_delivery=True)
    world.publish("1", "2", "3", "4", key="k")
    one, two, three, four = world.pull()
    assert world.ack(two, one) == [AckResult.DONE] * 2
    assert world.ack(four, one, three) == [AckResult.DONE, AckResult.STALE, AckResult.DONE]


def test_a_push_consumer_has_one_message_of_a_key_at_a_time() -> None:
    from poolhouse_pubsub.core.leases import Consumer, Mode

    world = ordered()
    got = []
    consumer = Consumer(Mode.PUSH, token="push", deliver=got.extend)
    world.subscription.connect(consumer)
    world.publish("1", "2", key="k")
    world.publish("x", key="l")
    assert [entry.message.key for entry in got] == ["k", "l"]
    world.subscription.acknowledge([got[0].ack_id])
    world.emulator.pump()
    assert [entry.message.key for entry in got] == ["k", "l", "k"]
