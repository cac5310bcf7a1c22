"""Retention, snapshots and seeks: what is there to be delivered afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.inspection import inspect
from poolhouse_pubsub.core.emulator import timestamp
from poolhouse_pubsub.status import Code, StatusError
from tests.kit.unit.pubsub.world import START, SUBSCRIPTION, TOPIC, World, data

SNAPSHOT = "projects/core/snapshots/before"
TEN_MINUTES = protos.Duration(seconds=600)


def seek(world: World, moment: float | None = None, *, snapshot: str | None = None, name: str = SUBSCRIPTION) -> None:
    request = protos.SeekRequest(subscription=name)
    if moment is not None:
        request.time.CopyFrom(timestamp(moment))
    if snapshot is not None:
        request.snapshot = snapshot
    world.service.snapshots.seek(request)


def take_snapshot(world: World, name: str = SNAPSHOT, **fields: object) -> Any:
    request = protos.CreateSnapshotRequest(name=name, subscription=SUBSCRIPTION, **fields)
    return world.service.snapshots.create_snapshot(request)


def code_of(call: Callable[[], object]) -> Code:
    with pytest.raises(StatusError) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("state", ["waiting", "outstanding", "delayed"])
def test_an_unacked_message_is_gone_after_the_retention_wherever_it_stands(state: str) -> None:
    retry = {"minimum_backoff": TEN_MINUTES} if state == "delayed" else None
    world = World(message_retention_duration=TEN_MINUTES, ack_deadline_seconds=600, retry_policy=retry)
    world.publish("a")
    world.advance(30)
    if state != "waiting":
        held = world.pull()
        if state == "delayed":
            world.nack(*held)
    world.advance(569)
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 1
    world.advance(1)
    shown = inspect(world.emulator, SUBSCRIPTION)
    assert (shown.unacked, shown.messages) == (0, ())
    world.advance(3600)
    assert world.pull() == []


def test_younger_messages_outlive_an_older_one() -> None:
    world = World(message_retention_duration=TEN_MINUTES)
    world.publish("old")
    world.advance(300)
    world.publish("new")
    world.advance(301)
    assert data(world.pull()) == ["new"]


def test_a_subscription_wakes_up_for_its_retention_when_the_oldest_message_is_too_old_and_not_for_each() -> None:
    world = World(message_retention_duration=TEN_MINUTES)
    assert world.emulator.timers.next_due > START + 86_400
    for _ in range(5):
        world.publish("a")
        world.advance(0.25)
    assert world.emulator.timers.next_due == START + 600
    world.advance(598.75)
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 4
    assert world.emulator.timers.next_due == START + 601  # a six-hundredth of the retention later, all at once
    world.advance(1)
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 0


def test_a_seek_to_the_past_brings_back_what_was_acked_and_is_retained() -> None:
    world = World(retain_acked_messages=True)
    world.publish("a")
    world.advance(60)
    world.publish("b")
    world.ack(*world.pull())
    seek(world, START + 60)
    assert data(world.pull()) == ["b"]
    seek(world, START)
    assert data(world.pull()) == ["a", "b"]


def test_without_retained_acked_messages_a_seek_brings_back_nothing_that_was_acked() -> None:
    world = World()
    world.publish("a", "b")
    world.ack(world.pull()[0])
    seek(world, START)
    assert data(world.pull()) == ["b"]


def test_acked_messages_are_retained_no_longer_than_the_retention() -> None:
    world = World(retain_acked_messages=True, message_retention_duration=TEN_MINUTES)
    world.publish("a")
    world.ack(*world.pull())
    world.advance(601)
    assert inspect(world.emulator, SUBSCRIPTION).retained == 0
    seek(world, START)
    assert world.pull() == []


def test_a_message_that_was_acked_before_its_turn_is_retained_when_the_one_before_it_is_too_old() -> None:
    world = World(
        retain_acked_messages=True,
        message_retention_duration=TEN_MINUTES,
        ack_deadline_seconds=600,
        enable_message_ordering=True,
    )
    world.publish("old", "old and acked", key="k")
    world.advance(300)
    world.publish("acked", key="k")
    _, *later = world.pull()
    world.ack(*later)
    world.advance(301)
    shown = inspect(world.emulator, SUBSCRIPTION)
    assert (shown.unacked, shown.outstanding, shown.retained, shown.finished) == (0, 0, 1, 2)
    seek(world, START)
    assert data(world.pull()) == ["acked"]


def test_acked_messages_are_let_go_once_they_are_not_to_be_retained_any_more() -> None:
    world = World(retain_acked_messages=True)
    world.publish("a")
    world.ack(*world.pull())
    assert inspect(world.emulator, SUBSCRIPTION).retained == 1
    world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription={"name": SUBSCRIPTION, "retain_acked_messages": False},
            update_mask={"paths": ["retain_acked_messages"]},
        )
    )
    assert inspect(world.emulator, SUBSCRIPTION).retained == 0
    seek(world, START)
    assert world.pull() == []


def test_another_change_lets_no_acked_message_go() -> None:
    world = World(retain_acked_messages=True)
    world.publish("a")
    world.ack(*world.pull())
    world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription={"name": SUBSCRIPTION, "ack_deadline_seconds": 60},
            update_mask={"paths": ["ack_deadline_seconds"]},
        )
    )
    seek(world, START)
    assert data(world.pull()) == ["a"]


def test_a_shorter_retention_holds_for_the_messages_that_are_there() -> None:
    world = World()
    world.publish("a")
    world.advance(700)
    world.publish("b")
    world.service.subscriber.update_subscription(
        protos.UpdateSubscriptionRequest(
            subscription={"name": SUBSCRIPTION, "message_retention_duration": TEN_MINUTES},
            update_mask={"paths": ["message_retention_duration"]},
        )
    )
    world.advance(1)
    assert data(world.pull()) == ["b"]


def test_a_topic_that_retains_no_more_forgets_what_it_had() -> None:
    world = World()
    late = "projects/core/subscriptions/late"

    def retain(duration: dict[str, int] | None) -> None:
        topic = {"name": TOPIC, **({"message_retention_duration": duration} if duration else {})}
        mask = {"paths": ["message_retention_duration"]}
        world.service.publisher.update_topic(protos.UpdateTopicRequest(topic=topic, update_mask=mask))

    retain({"seconds": 600})
    world.publish("a")
    world.subscribe(late)
    retain(None)
    world.advance(1)
    retain({"seconds": 600})
    seek(world, START, name=late)
    assert world.pull(name=late) == []


def test_a_seek_to_the_future_purges_what_is_there_and_not_what_comes() -> None:
    world = World()
    world.publish("a", "b")
    seek(world, START + 3600)
    assert world.pull() == []
    world.publish("c")
    assert data(world.pull()) == ["c"]


def test_old_ack_ids_do_not_count_after_a_seek() -> None:
    world = World()
    world.publish("a")
    held = world.pull()
    seek(world, START)
    world.ack(*held)
    assert data(world.pull()) == ["a"]


def test_a_new_subscription_can_seek_into_what_its_topic_retains() -> None:
    world = World()
    world.service.publisher.update_topic(
        protos.UpdateTopicRequest(
            topic={"name": TOPIC, "message_retention_duration": TEN_MINUTES},
            update_mask={"paths": ["message_retention_duration"]},
        )
    )
    world.publish("a")
    world.advance(60)
    late = "projects/core/subscriptions/late"
    world.subscribe(late, filter="NOT attributes:skip")
    world.publish("b", skip="yes")
    assert world.pull(name=late) == []
    seek(world, START, name=late)
    brought_back = world.pull(name=late)
    assert data(brought_back) == ["a"]
    world.ack(*brought_back, name=late)
    world.advance(600)
    seek(world, START, name=late)
    assert world.pull(name=late) == []


def test_a_seek_to_a_time_works_on_an_ordered_subscription() -> None:
    world = World(enable_message_ordering=True, retain_acked_messages=True)
    world.publish("1", "2", key="k")
    world.ack(*world.pull())
    seek(world, START)
    assert data(world.pull()) == ["1", "2"]


def test_a_snapshot_keeps_the_unacked_messages_and_everything_after_it() -> None:
    world = World()
    world.publish("acked", "kept")
    world.ack(world.pull(1)[0])
    take_snapshot(world)
    world.ack(*world.pull())
    world.publish("later")
    world.ack(*world.pull())
    seek(world, snapshot=SNAPSHOT)
    assert data(world.pull()) == ["kept", "later"]


def test_a_snapshot_of_one_subscription_serves_another_of_the_same_topic_only() -> None:
    world = World()
    take_snapshot(world)
    world.subscribe("projects/core/subscriptions/twin")
    world.topic("projects/core/topics/elsewhere")
    world.subscribe("projects/core/subscriptions/stranger", topic="projects/core/topics/elsewhere")
    world.publish("a")
    world.ack(*world.pull(name="projects/core/subscriptions/twin"), name="projects/core/subscriptions/twin")
    seek(world, snapshot=SNAPSHOT, name="projects/core/subscriptions/twin")
    assert data(world.pull(name="projects/core/subscriptions/twin")) == ["a"]
    stranger = "projects/core/subscriptions/stranger"
    assert code_of(lambda: seek(world, snapshot=SNAPSHOT, name=stranger)) is Code.FAILED_PRECONDITION


def test_a_snapshot_expires_seven_days_after_its_oldest_unacked_message() -> None:
    world = World()
    world.publish("a")
    world.advance(86_400)
    snapshot = take_snapshot(world)
    assert snapshot.expire_time.seconds == START + 7 * 86_400
    world.advance(6 * 86_400 - 1)
    world.service.snapshots.get_snapshot(protos.GetSnapshotRequest(snapshot=SNAPSHOT))
    world.advance(1)
    get = protos.GetSnapshotRequest(snapshot=SNAPSHOT)
    assert code_of(lambda: world.service.snapshots.get_snapshot(get)) is Code.NOT_FOUND


def test_a_snapshot_that_would_expire_within_an_hour_is_refused() -> None:
    world = World(message_retention_duration=protos.Duration(seconds=8 * 86_400), expiration_policy={})
    world.publish("a")
    world.advance(7 * 86_400 - 3599)
    assert code_of(lambda: take_snapshot(world)) is Code.FAILED_PRECONDITION


def test_the_server_makes_up_a_name_for_a_snapshot_without_one() -> None:
    snapshot = take_snapshot(World(), name="")
    assert snapshot.name.startswith("projects/core/snapshots/snapshot-")


def test_a_snapshots_labels_and_expiry_can_be_changed() -> None:
    world = World()
    take_snapshot(world)
    changed = world.service.snapshots.update_snapshot(
        protos.UpdateSnapshotRequest(
            snapshot={"name": SNAPSHOT, "labels": {"a": "b"}, "expire_time": timestamp(START + 60)},
            update_mask={"paths": ["labels", "expire_time"]},
        )
    )
    assert dict(changed.labels) == {"a": "b"}
    world.advance(60)
    assert world.emulator.snapshots == {}


def test_a_seek_needs_a_target_and_an_existing_snapshot() -> None:
    world = World()
    assert code_of(lambda: seek(world)) is Code.INVALID_ARGUMENT
    assert code_of(lambda: seek(world, snapshot=SNAPSHOT)) is Code.NOT_FOUND


def test_a_deleted_topic_leaves_its_subscriptions_with_their_backlog() -> None:
    world = World()
    world.publish("a")
    world.service.publisher.delete_topic(protos.DeleteTopicRequest(topic=TOPIC))
    assert world.subscription.config.topic == "_deleted-topic_"
    world.topic()
    world.publish("b")
    assert data(world.pull()) == ["a"]


def test_a_detached_subscription_loses_its_backlog_and_refuses_pulls() -> None:
    world = World()
    world.publish("a")
    world.service.publisher.detach_subscription(protos.DetachSubscriptionRequest(subscription=SUBSCRIPTION))
    world.publish("b")
    assert inspect(world.emulator, SUBSCRIPTION).unacked == 0
    pull = protos.PullRequest(subscription=SUBSCRIPTION, max_messages=1)
    assert code_of(lambda: asyncio.run(world.service.subscriber.pull(pull))) is Code.FAILED_PRECONDITION
    listed = world.service.publisher.list_topic_subscriptions(protos.ListTopicSubscriptionsRequest(topic=TOPIC))
    assert list(listed.subscriptions) == []
    assert world.subscription.config.detached
