"""Retention, snapshots and seeks (section 12)."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest

from tests.kit.conformance.semantics.targets import Project, data, refused


def seek(project: Project, subscription: str, **target: Any) -> None:
    project.subscriber.seek({"subscription": subscription, **target})


def snapshot(project: Project, subscription: str, id: str = "snapshot") -> str:
    name = project.name("snapshots", id)
    project.subscriber.create_snapshot(name=name, subscription=subscription)
    return name


def test_a_seek_to_a_snapshot_brings_back_what_was_unacked_and_what_came_since(project: Project) -> None:
    name = project.subscription()
    project.publish("acked")
    project.ack(name, *project.pull(name))
    project.publish("kept")
    taken = snapshot(project, name)
    project.publish("later")
    project.ack(name, *project.pull(name, at_least=2))
    seek(project, name, snapshot=taken)
    assert sorted(data(project.pull(name, at_least=2))) == ["kept", "later"]


def test_a_snapshot_is_created_once_and_deleted_once(project: Project) -> None:
    name = project.subscription()
    taken = snapshot(project, name)
    with refused("ALREADY_EXISTS"):
        snapshot(project, name)
    assert [each.name for each in project.subscriber.list_snapshots(project=project.path)] == [taken]
    assert list(project.publisher.list_topic_snapshots(topic=project.name("topics", "topic"))) == [taken]
    project.subscriber.delete_snapshot(snapshot=taken)
    with refused("NOT_FOUND"):
        project.subscriber.get_snapshot(snapshot=taken)


def test_a_snapshot_of_an_absent_subscription_is_not_found(project: Project) -> None:
    with refused("NOT_FOUND"):
        snapshot(project, project.name("subscriptions", "absent"))


def test_a_snapshot_lives_for_seven_days(project: Project) -> None:
    name = project.subscription()
    taken = project.subscriber.get_snapshot(snapshot=snapshot(project, name))
    now = datetime.datetime.now(datetime.UTC)
    if project.target.name == "google":
        assert abs((taken.expire_time - now).total_seconds() - 7 * 86_400) < 60
    else:  # its clock may have been advanced by other tests
        assert taken.expire_time - now > datetime.timedelta(days=6)


@pytest.mark.google_deviates("an empty name is refused")
def test_the_server_names_a_snapshot_without_a_name(project: Project) -> None:
    made = project.subscriber.create_snapshot(name="", subscription=project.subscription())
    assert made.name.startswith(project.path + "/snapshots/")


@pytest.mark.google_deviates("UpdateSnapshot is UNIMPLEMENTED")
def test_labels_of_a_snapshot_can_be_updated(project: Project) -> None:
    taken = snapshot(project, project.subscription())
    request = {"snapshot": {"name": taken, "labels": {"a": "b"}}, "update_mask": {"paths": ["labels"]}}
    assert dict(project.subscriber.update_snapshot(request).labels) == {"a": "b"}


@pytest.mark.google_deviates("UpdateSnapshot is UNIMPLEMENTED")
def test_the_end_of_a_snapshot_can_be_moved(project: Project) -> None:
    taken = snapshot(project, project.subscription())
    expires = project.subscriber.get_snapshot(snapshot=taken).expire_time - datetime.timedelta(days=1)
    request = {"snapshot": {"name": taken, "expire_time": expires}, "update_mask": {"paths": ["expire_time"]}}
    assert project.subscriber.update_snapshot(request).expire_time == expires


def test_a_seek_needs_a_target_that_is_there(project: Project) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        seek(project, name)
    with refused("NOT_FOUND"):
        seek(project, name, snapshot=project.name("snapshots", "absent"))


def test_a_snapshot_of_another_topic_is_refused(project: Project) -> None:
    taken = snapshot(project, project.subscription())
    other = project.subscription("other", topic=project.topic("other"))
    with refused("FAILED_PRECONDITION"):
        seek(project, other, snapshot=taken)


def test_a_seek_to_the_future_purges(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    seek(project, name, time=datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC))
    assert project.gets_nothing(name)
    project.publish("b")
    assert data(project.pull(name)) == ["b"]


def test_a_seek_to_the_past_brings_back_retained_acked_messages(project: Project) -> None:
    name = project.subscription(retain_acked_messages=True)
    project.publish("a")
    (held,) = project.pull(name)
    project.ack(name, held)
    time.sleep(0.05)
    seek(project, name, time=held.message.publish_time)
    assert data(project.pull(name)) == ["a"]


def test_a_new_subscription_can_seek_into_what_the_topic_retains(project: Project) -> None:
    topic = project.topic(message_retention_duration={"seconds": 600})
    project.publish("a")
    name = project.subscription(topic=topic)
    seek(project, name, time=datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5))
    assert data(project.pull(name)) == ["a"]


@pytest.mark.google_deviates("gets what the topic retains")
def test_a_new_subscription_gets_nothing_that_was_published_before_it(project: Project) -> None:
    topic = project.topic(message_retention_duration={"seconds": 600})
    project.publish("a")
    assert project.gets_nothing(project.subscription(topic=topic))


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_seek_to_a_time_works_on_an_ordered_subscription(project: Project) -> None:
    name = project.subscription(enable_message_ordering=True)
    project.publish("a", key="k")
    seek(project, name, time=datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC))
    assert project.gets_nothing(name)


def test_outstanding_messages_come_again_after_a_seek(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    taken = snapshot(project, name)
    project.pull(name)
    seek(project, name, snapshot=taken)
    assert data(project.pull(name)) == ["a"]


def test_ack_ids_from_before_a_seek_count_no_more(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    taken = snapshot(project, name)
    old = project.pull(name)
    seek(project, name, snapshot=taken)
    project.pull(name)
    project.ack(name, *old)
    seek(project, name, snapshot=taken)
    assert data(project.pull(name)) == ["a"]
