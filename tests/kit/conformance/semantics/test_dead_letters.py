"""Delivery attempts and dead letters (section 6)."""

from __future__ import annotations

import re

import pytest

from tests.kit.conformance.semantics.targets import Project, data


def with_dead_letters(project: Project) -> tuple[str, str]:
    dead = project.topic("dead")
    letters = project.subscription("letters", topic=dead)
    return project.subscription(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5}), letters


def test_attempts_are_counted_from_1(project: Project) -> None:
    name, _ = with_dead_letters(project)
    project.publish("a")
    for attempt in (1, 2, 3):
        held = project.pull(name)
        assert held[0].delivery_attempt == attempt
        project.nack(name, *held)


def test_without_a_dead_letter_policy_there_is_no_attempt(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    assert not project.pull(name)[0].delivery_attempt


def test_the_fifth_nack_forwards_the_message_with_where_it_came_from(project: Project) -> None:
    name, letters = with_dead_letters(project)
    (id,) = project.publish("a", colour="blue")
    for _ in range(5):
        project.nack(name, *project.pull(name))
    assert project.gets_nothing(name)  # Google's forwards when it is asked for the next delivery
    (letter,) = project.pull(letters)
    attributes = dict(letter.message.attributes)
    published = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", published)
    assert attributes == {
        "colour": "blue",
        "CloudPubSubDeadLetterSourceSubscription": "subscription",
        "CloudPubSubDeadLetterSourceSubscriptionProject": project.id,
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
    }
    assert letter.message.data == b"a"
    assert letter.message.message_id != id


def test_a_forwarded_message_keeps_its_ordering_key(project: Project) -> None:
    name, letters = with_dead_letters(project)
    project.publish("a", key="k")
    for _ in range(5):
        project.nack(name, *project.pull(name))
    assert project.gets_nothing(name)
    (letter,) = project.pull(letters)
    assert letter.message.ordering_key == "k"


def test_an_expired_deadline_counts_as_an_attempt(project: Project) -> None:
    name, _ = with_dead_letters(project)
    project.publish("a")
    project.modify(name, *project.pull(name), seconds=1)
    project.wait(1.5)
    assert project.pull(name)[0].delivery_attempt == 2


def test_an_acked_message_is_not_forwarded(project: Project) -> None:
    name, letters = with_dead_letters(project)
    project.publish("a")
    for _ in range(4):
        project.nack(name, *project.pull(name))
    project.ack(name, *project.pull(name))
    assert project.gets_nothing(letters)


def test_other_messages_are_not_touched(project: Project) -> None:
    name, letters = with_dead_letters(project)
    project.publish("bad")
    for _ in range(5):
        project.nack(name, *project.pull(name))
    project.publish("good")
    assert data(project.pull(name)) == ["good"]
    assert data(project.pull(letters)) == ["bad"]


def test_a_dead_letter_topic_without_a_subscription_loses_the_message(project: Project) -> None:
    name = project.subscription(dead_letter_policy={"dead_letter_topic": project.topic("dead")})
    project.publish("poison")
    for _ in range(5):
        project.nack(name, *project.pull(name))
    assert project.gets_nothing(name)


def test_a_message_stays_when_its_dead_letter_topic_was_deleted(project: Project) -> None:
    dead = project.topic("dead")
    name = project.subscription(dead_letter_policy={"dead_letter_topic": dead})
    project.publish("poison")
    project.publisher.delete_topic(topic=dead)
    for _ in range(6):
        project.nack(name, *project.pull(name))
    assert data(project.pull(name)) == ["poison"]


@pytest.mark.google_deviates("the count goes on")
def test_a_new_dead_letter_policy_starts_the_count_anew(project: Project) -> None:
    dead = project.topic("dead")
    name = project.subscription(dead_letter_policy={"dead_letter_topic": dead})
    project.publish("poison")
    for _ in range(3):
        project.nack(name, *project.pull(name))
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 6}
    project.subscriber.update_subscription(
        {
            "subscription": {"name": name, "dead_letter_policy": policy},
            "update_mask": {"paths": ["dead_letter_policy"]},
        }
    )
    assert project.pull(name)[0].delivery_attempt == 1
