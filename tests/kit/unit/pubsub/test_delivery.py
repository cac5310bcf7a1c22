"""Leases, redelivery, backoff and dead letters, on the state machine alone."""

from __future__ import annotations

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.inspection import inspect
from poolhouse_pubsub.core import dead_letter
from poolhouse_pubsub.core.leases import Consumer, Mode
from poolhouse_pubsub.core.subscription import AckResult
from tests.kit.unit.pubsub.world import START, SUBSCRIPTION, TOPIC, World, data

DEAD = "projects/core/topics/orders-dead"
DEAD_SUBSCRIPTION = "projects/core/subscriptions/orders-dead"


def retry(least: float, most: float) -> dict[str, object]:
    return {
        "minimum_backoff": protos.Duration(seconds=int(least), nanos=round(least % 1 * 1e9)),
        "maximum_backoff": protos.Duration(seconds=int(most)),
    }


def with_dead_letters(**fields: object) -> World:
    world = World()
    world.topic(DEAD)
    world.subscribe(DEAD_SUBSCRIPTION, topic=DEAD)
    world.service.subscriber.delete_subscription(protos.DeleteSubscriptionRequest(subscription=SUBSCRIPTION))
    world.subscribe(dead_letter_policy={"dead_letter_topic": DEAD, "max_delivery_attempts": 5}, **fields)
    return world


def taker() -> Consumer:
    return Consumer(Mode.PULL, token="", deliver=lambda batch: None)


def test_an_acked_message_never_comes_back() -> None:
    world = World()
    world.publish("a", "b")
    assert world.ack(*world.pull()) == [AckResult.DONE] * 2
    world.advance(86_400)
    assert world.pull() == []
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 0
    assert world.subscription.finished_count == 2


def test_a_leased_message_is_not_delivered_before_its_deadline_and_is_right_after_it() -> None:
    world = World(ack_deadline_seconds=20)
    world.publish("a")
    first = world.pull()
    world.advance(19.999)
    assert world.pull() == []
    world.advance(0.001)
    again = world.pull()
    assert data(again) == ["a"]
    assert again[0].ack_id != first[0].ack_id


def test_an_extended_lease_counts_from_the_request() -> None:
    world = World()
    world.publish("a")
    held = world.pull()
    world.advance(9)
    world.modify(*held, seconds=30)
    world.advance(29.9)
    assert world.pull() == []
    world.advance(0.1)
    assert data(world.pull()) == ["a"]


def test_a_lease_may_be_made_shorter() -> None:
    world = World(ack_deadline_seconds=600)
    world.publish("a", "b")
    world.modify(*world.pull(), seconds=5)
    world.advance(5)
    assert data(world.pull()) == ["a", "b"]


def test_a_lease_that_was_extended_can_be_made_shorter_after_its_first_deadline() -> None:
    world = World(ack_deadline_seconds=10)
    world.publish("a")
    held = world.pull()
    world.modify(*held, seconds=60)
    world.advance(15)
    world.modify(*held, seconds=5)
    world.advance(4.9)
    assert world.pull() == []
    world.advance(0.1)
    assert data(world.pull()) == ["a"]


def test_leases_and_backoffs_end_at_their_time_after_thousands_of_messages_were_acked() -> None:
    world = World(ack_deadline_seconds=600, retry_policy=retry(500, 600))
    world.publish("first", "second", "third")
    first, second, third = world.pull()
    world.modify(first, seconds=300)
    world.nack(third)
    for _ in range(50):
        world.publish(*["x"] * 100)
        world.ack(*world.pull())
    world.modify(second, seconds=200)
    world.advance(700)  # the leases, and the backoff that begins with their end
    assert data(world.pull()) == ["third", "second"]
    world.advance(100)
    assert data(world.pull()) == ["first"]
    world.advance(400)
    assert world.pull() == []


def test_a_nacked_message_comes_back_at_once_without_a_retry_policy() -> None:
    world = World()
    world.publish("a")
    world.nack(*world.pull())
    assert data(world.pull()) == ["a"]


def test_a_message_that_is_nacked_again_and_again_does_not_keep_the_others_waiting() -> None:
    world = World()
    world.publish("poison", "b", "c")
    seen = []
    for _ in range(6):
        (message,) = world.pull(1)
        seen.append(message.data)
        (world.nack if message.data == "poison" else world.ack)(message)
    assert {"b", "c"} <= set(seen)


def test_an_ack_after_the_deadline_succeeds_while_no_other_client_got_the_message() -> None:
    world = World()
    world.publish("a")
    late = world.pull()
    world.advance(60)
    assert world.ack(*late) == [AckResult.DONE]
    assert world.pull() == []
    assert world.subscription.finished_count == 1
    assert world.ack(*late) == [AckResult.STALE]


@pytest.mark.parametrize("backoff_s", [0, 300])
def test_a_message_that_is_acked_late_waits_nowhere_any_more(backoff_s: int) -> None:
    world = World(retry_policy=retry(backoff_s, 600))
    world.publish("a")
    late = world.pull()
    world.advance(60)
    world.ack(*late)
    shown = inspect(world.emulator, SUBSCRIPTION)
    assert (shown.undelivered, shown.delayed, shown.unacked) == (0, 0, 0)
    world.advance(3600)
    assert world.pull() == []


def test_a_deadline_may_be_moved_by_a_second() -> None:
    world = World()
    world.publish("a")
    held = world.pull()
    assert world.modify(*held, seconds=1) == [AckResult.DONE]
    assert world.pull() == []
    world.advance(1)
    assert data(world.pull()) == ["a"]


def test_a_deadline_is_moved_while_the_lease_lasts_and_not_after_it() -> None:
    world = World()
    world.publish("a", "b")
    held, late = world.pull()
    assert world.modify(held, late, seconds=20) == [AckResult.DONE] * 2
    assert world.nack(held) == [AckResult.DONE]
    assert world.modify(held, seconds=20) == [AckResult.STALE]
    world.advance(20)
    assert world.modify(late, seconds=20) == [AckResult.STALE]
    assert sorted(data(world.pull())) == ["a", "b"]


def test_an_ack_after_a_nack_does_not_count() -> None:
    world = World()
    world.publish("a")
    held = world.pull()
    world.nack(*held)
    assert world.ack(*held) == [AckResult.STALE]
    assert data(world.pull()) == ["a"]


def test_a_delivery_that_is_refused_again_and_again_waits_as_the_retry_policy_says() -> None:
    world = World(retry_policy=retry(1, 1))
    world.publish("a")
    for _ in range(12):
        [entry] = world.subscription.take(taker(), now=world.clock.now())
        world.subscription.refuse(entry, reason="no such table", now=world.clock.now())
        world.advance(0.999)
        assert world.pull() == []
        world.advance(0.001)


def test_a_delivery_that_was_given_back_is_no_attempt_and_goes_to_another() -> None:
    world = with_dead_letters()
    stream = world.stream()
    stream.consumer.ready = False
    world.publish("a")
    entries = world.subscription.take(taker(), now=world.clock.now())
    stream.consumer.ready = True
    world.subscription.give_back(entries)
    world.emulator.pump()
    [again] = stream.got
    assert (again.data, again.attempt) == ("a", 1)


def test_a_delivery_that_is_refused_comes_again_after_a_pause_and_its_reason_is_kept() -> None:
    world = with_dead_letters()
    world.publish("a")
    entries = world.subscription.take(taker(), now=world.clock.now())
    for entry in [*entries, *entries]:  # the second time it is not leased any more
        world.subscription.refuse(entry, reason="no such table", now=world.clock.now())
    assert world.subscription.delivery_error == "no such table"
    assert world.pull() == []
    world.advance(600)
    [again] = world.pull()
    assert (again.data, again.attempt) == ("a", 2)


def test_the_ack_id_of_an_earlier_delivery_does_not_ack_a_later_one() -> None:
    world = World()
    world.publish("a")
    old = world.pull()
    world.advance(10)
    new = world.pull()
    assert world.ack(*old) == [AckResult.STALE]
    world.nack(*new)
    assert data(world.pull()) == ["a"]


def test_an_ack_id_of_another_subscription_is_none_of_this_one() -> None:
    world = World()
    world.subscribe("projects/core/subscriptions/other")
    world.publish("a")
    foreign = world.pull(name="projects/core/subscriptions/other")
    assert world.ack(*foreign) == world.modify(*foreign, seconds=20) == world.nack(*foreign) == [AckResult.MALFORMED]
    assert [world.subscription.knows(message.ack_id) for message in foreign] == [False]
    own = world.pull()
    assert [world.subscription.knows(message.ack_id) for message in own] == [True]


@pytest.mark.parametrize("fail", ["nack", "expiry"])
def test_the_backoff_doubles_from_the_minimum_to_the_maximum(fail: str) -> None:
    world = World(retry_policy=retry(10, 60))
    world.publish("a")
    waits = []
    for _ in range(5):
        held = world.pull()
        if fail == "nack":
            world.nack(*held)
        else:
            world.advance(10)
        waited = 0
        while not (view := inspect(world.emulator, SUBSCRIPTION)).undelivered:
            assert view.delayed == 1
            world.advance(1)
            waited += 1
        waits.append(waited)
    assert waits == [10, 20, 40, 60, 60]


def test_other_messages_flow_while_one_waits_for_its_backoff() -> None:
    world = World(retry_policy=retry(10, 60))
    world.publish("a", "b")
    first, _ = world.pull()
    world.nack(first)
    world.publish("c")
    assert data(world.pull()) == ["c"]


def test_the_fifth_failure_forwards_to_the_dead_letter_topic_with_where_it_came_from() -> None:
    world = with_dead_letters()
    world.publish("a", colour="blue")
    for attempt in range(1, 6):
        (message,) = world.pull()
        assert message.attempt == attempt
        world.nack(message)
    assert world.pull() == []
    (dead,) = world.pull(name=DEAD_SUBSCRIPTION)
    assert dead.data == "a"
    assert dead.message_id != message.message_id
    assert dead.attributes == {
        "colour": "blue",
        "CloudPubSubDeadLetterSourceSubscription": "orders-worker",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "core",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2027-01-15T08:00:00Z",
    }
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 0
    world.publish("b")
    for _ in range(5):
        world.nack(*world.pull())
    assert data(world.pull(name=DEAD_SUBSCRIPTION)) == ["b"]
    assert world.subscription.dead_lettered_count == 2


def test_a_dead_letter_tells_its_source_and_the_attributes_that_the_original_had() -> None:
    world = with_dead_letters()
    world.publish("a", colour="blue")
    for _ in range(5):
        world.nack(*world.pull())
    [dead] = world.pull(name=DEAD_SUBSCRIPTION)
    assert dead_letter.source_of(dead.attributes) == SUBSCRIPTION
    assert dead_letter.without_source(dead.attributes) == {"colour": "blue"}
    for name in [name for name in dead.attributes if "Subscription" in name]:
        assert dead_letter.source_of({key: dead.attributes[key] for key in dead.attributes if key != name}) == ""


def test_a_dead_letter_has_as_much_of_the_reason_as_an_attribute_may_have() -> None:
    world = with_dead_letters()
    world.publish("a")
    for _ in range(5):
        world.advance(60)
        [entry] = world.subscription.take(taker(), now=world.clock.now())
        world.subscription.refuse(entry, reason="x" + "é" * 600, now=world.clock.now())
    [dead] = world.pull(name=DEAD_SUBSCRIPTION)
    assert dead.attributes["CloudPubSubDeadLetterSourceDeliveryErrorMessage"] == "x" + "é" * 511
    assert dead_letter.without_source(dead.attributes) == {}


def test_five_attempts_with_ten_minutes_of_backoff_take_no_time() -> None:
    world = with_dead_letters(retry_policy=retry(600, 600))
    world.publish("a")
    for _ in range(5):
        world.nack(*world.pull())
        world.advance(600)
    assert data(world.pull(name=DEAD_SUBSCRIPTION)) == ["a"]
    assert world.clock.now() == START + 3000


def test_expiries_count_as_attempts_and_happen_in_order_within_one_advance() -> None:
    world = with_dead_letters(ack_deadline_seconds=10)
    stream = world.stream()
    world.publish("a")
    world.advance(3600)
    assert [message.attempt for message in stream.got] == [1, 2, 3, 4, 5]
    (dead,) = world.pull(name=DEAD_SUBSCRIPTION)
    assert dead.publish_time == START + 50


def test_the_ack_id_of_a_message_that_was_dead_lettered_or_outlived_its_retention_counts_no_more() -> None:
    world = with_dead_letters(message_retention_duration={"seconds": 600})
    world.publish("forwarded")
    for _ in range(4):
        world.nack(*world.pull())
    last = world.pull()
    world.advance(10)
    world.publish("too old")
    expired = world.pull()
    world.advance(700)
    before = inspect(world.emulator, SUBSCRIPTION).counts()
    assert (before["finished"], before["dead_lettered"], before["unacked"]) == (1, 1, 0)
    assert world.ack(*last, *expired) == [AckResult.STALE] * 2
    assert inspect(world.emulator, SUBSCRIPTION).counts() == before


def test_without_a_dead_letter_policy_there_is_no_delivery_attempt() -> None:
    world = World(retry_policy=retry(0, 0))
    world.publish("a")
    world.nack(*world.pull())
    assert world.pull()[0].attempt == 0


def test_a_dead_letter_topic_that_is_gone_leaves_the_message_where_it_is() -> None:
    world = with_dead_letters()
    world.publish("a")
    world.service.publisher.delete_topic(protos.DeleteTopicRequest(topic=DEAD))
    for _ in range(8):
        world.nack(*world.pull())
    assert data(world.pull()) == ["a"]


def test_other_fields_can_be_updated_after_the_dead_letter_topic_was_deleted() -> None:
    world = with_dead_letters()
    world.service.publisher.delete_topic(protos.DeleteTopicRequest(topic=DEAD))
    changed = world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription={"name": SUBSCRIPTION, "ack_deadline_seconds": 60},
            update_mask={"paths": ["ack_deadline_seconds"]},
        )
    )
    assert changed.ack_deadline_seconds == 60
    assert changed.dead_letter_policy.dead_letter_topic == DEAD


def test_a_changed_dead_letter_policy_starts_the_count_anew() -> None:
    world = with_dead_letters()
    world.publish("a")
    for _ in range(3):
        world.nack(*world.pull())
    world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription={"name": SUBSCRIPTION, "dead_letter_policy": {"max_delivery_attempts": 10}},
            update_mask={"paths": ["dead_letter_policy.max_delivery_attempts"]},
        )
    )
    assert world.pull()[0].attempt == 1


def test_a_stream_gets_no_more_than_it_asked_for() -> None:
    world = World()
    world.publish(*"abcdef")
    stream = world.stream(max_messages=2)
    assert stream.data == ["a", "b"]
    world.ack(stream.got[0])
    assert stream.data == ["a", "b", "c"]
    world.nack(stream.got[1])
    assert len(stream.got) == 4


def test_expired_leases_give_a_stream_its_room_back() -> None:
    world = World()
    world.publish("a", "b", "c")
    stream = world.stream(max_messages=1)
    world.advance(10)
    assert len(stream.got) == 2


def test_a_stream_stops_at_its_byte_limit_and_one_message_may_exceed_it() -> None:
    world = World()
    world.publish(*["x" * 1000] * 5)
    stream = world.stream(max_bytes=2500)
    assert len(stream.got) == 3
    world.ack(stream.got[0])
    assert len(stream.got) == 4
    big = World()
    big.publish("x" * 100_000)
    assert len(big.stream(max_bytes=1).got) == 1


def test_messages_are_spread_over_the_streams_of_a_subscription() -> None:
    world = World()
    one, two = world.stream(), world.stream()
    world.publish(*map(str, range(40)))
    assert len(one.got) == len(two.got) == 20
    assert sorted(one.data + two.data) == sorted(map(str, range(40)))


@pytest.mark.parametrize(("messages", "sizes"), [(2, [1, 1]), (5, [2, 3])])
def test_what_waits_is_dealt_out_in_equal_batches(messages: int, sizes: list[int]) -> None:
    world = World()
    batches: list[int] = []
    for name in "ab":
        consumer = Consumer(Mode.STREAM, token=name, deliver=lambda batch: batches.append(len(batch)))
        world.subscription.connect(consumer)
    world.publish(*"x" * messages)
    assert sorted(batches) == sizes


def test_a_stream_with_room_gets_all_that_waits_though_it_is_more_than_a_response_may_carry() -> None:
    world = World()
    for _ in range(3):
        world.publish(*["x"] * 1000)
    assert len(world.stream().got) == 3000


def test_a_key_whose_stream_has_no_room_waits_for_it_and_the_other_streams_go_on() -> None:
    world = World(enable_message_ordering=True)
    full = world.stream(max_messages=1)
    world.publish("1", "2", key="k")
    other = world.stream()
    world.publish("x", key="l")
    assert (full.data, other.data) == (["1"], ["x"])
    world.ack(*full.got)
    assert (full.data, other.data) == (["1", "2"], ["x"])


def test_what_a_closed_stream_held_comes_back_at_its_deadline_and_not_before() -> None:
    world = World()
    world.publish("a")
    world.stream().close()
    assert world.pull() == []
    world.advance(9)
    assert world.pull() == []
    world.advance(1)
    assert data(world.pull()) == ["a"]


def test_a_streams_own_deadline_rules_over_the_subscriptions() -> None:
    world = World(ack_deadline_seconds=60)
    world.stream(ack_deadline_s=10, max_messages=1)
    world.publish("a")
    view = inspect(world.emulator, SUBSCRIPTION)
    assert view.messages[0].ack_deadline == START + 10


def test_a_response_stays_below_the_size_that_clients_take() -> None:
    world = World()
    world.publish(*["x" * 1_000_000] * 8)
    assert len(world.pull()) == 3


def test_each_subscription_gets_every_message() -> None:
    world = World()
    world.subscribe("projects/core/subscriptions/second")
    world.publish("a", "b")
    world.ack(*world.pull())
    assert data(world.pull(name="projects/core/subscriptions/second")) == ["a", "b"]


def test_a_subscription_gets_only_what_its_filter_lets_through() -> None:
    world = World()
    world.subscribe("projects/core/subscriptions/blue", filter='attributes.colour = "blue"')
    world.publish("a", colour="blue")
    world.publish("b", colour="red")
    assert data(world.pull(name="projects/core/subscriptions/blue")) == ["a"]


def test_inspection_shows_every_message_with_its_state_and_disturbs_nothing() -> None:
    world = World(retry_policy=retry(10, 10))
    world.publish("held", "failed", "waiting")
    held, failed = world.pull(2)
    world.nack(failed)
    views = [inspect(world.emulator, SUBSCRIPTION) for _ in range(2)]
    assert views[0] == views[1]
    assert [(each.data, each.state, each.delivery_attempt) for each in views[0].messages] == [
        (b"held", "outstanding", 1),
        (b"failed", "delayed", 2),
        (b"waiting", "ready", 1),
    ]
    assert views[0].messages[0].ack_id == held.ack_id
    assert [each.next_delivery_at - START for each in views[0].messages] == [10, 10, 0]
    assert (views[0].undelivered, views[0].outstanding, views[0].delayed, views[0].unacked) == (1, 1, 1, 3)
    world.advance(7)
    assert inspect(world.emulator, SUBSCRIPTION).oldest_unacked_age_s == pytest.approx(7)


def test_a_message_that_was_nacked_is_shown_as_ready_where_nothing_delays_it() -> None:
    world = World(ack_deadline_seconds=600)
    world.publish("a")
    world.nack(*world.pull())
    (shown,) = inspect(world.emulator, SUBSCRIPTION).messages
    assert (shown.state, shown.next_delivery_at) == ("ready", START)


def test_an_ordered_message_is_shown_with_the_backoff_of_its_key() -> None:
    world = World(enable_message_ordering=True, retry_policy=retry(10, 10))
    world.publish("1", "2", key="k")
    held, _ = world.pull()
    world.nack(held)
    shown = inspect(world.emulator, SUBSCRIPTION).messages
    assert [(each.state, each.next_delivery_at - START) for each in shown] == [("delayed", 10), ("delayed", 10)]
    world.advance(10)
    shown = inspect(world.emulator, SUBSCRIPTION).messages
    assert [(each.state, each.next_delivery_at - START) for each in shown] == [("ready", 10), ("ready", 10)]


def test_an_unused_subscription_is_deleted_after_its_time_to_live() -> None:
    world = World(expiration_policy={"ttl": protos.Duration(seconds=86_400)})
    world.advance(86_000)
    world.service.subscriber.get_subscription(protos.GetSubscriptionRequest(subscription=SUBSCRIPTION))
    world.advance(86_000)
    assert SUBSCRIPTION in world.emulator.subscriptions
    world.advance(400)
    assert SUBSCRIPTION not in world.emulator.subscriptions
    assert SUBSCRIPTION not in world.emulator.topics[TOPIC].subscriptions


def test_a_connected_consumer_keeps_a_subscription_from_expiring() -> None:
    world = World(expiration_policy={"ttl": protos.Duration(seconds=86_400)})
    stream = world.stream()
    world.advance(10 * 86_400)
    assert SUBSCRIPTION in world.emulator.subscriptions
    stream.close()
    world.advance(2 * 86_400)
    assert SUBSCRIPTION not in world.emulator.subscriptions


def test_a_subscription_with_an_empty_expiration_policy_never_expires() -> None:
    world = World(expiration_policy={})
    world.advance(1000 * 86_400)
    assert SUBSCRIPTION in world.emulator.subscriptions
