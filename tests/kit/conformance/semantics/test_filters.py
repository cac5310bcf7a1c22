"""Filters (section 9)."""

from __future__ import annotations

import datetime

import pytest

from tests.kit.conformance.semantics.targets import Project, data, refused


@pytest.mark.google_deviates("filters are ignored (attribute filters since Cloud SDK 555)")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attributes:colour", ["red", "blue"]),
        ('attributes.colour = "red"', ["red"]),
        ('attributes.colour != "red"', ["blue", "none"]),
        ('hasPrefix(attributes.colour, "bl")', ["blue"]),
        ("NOT attributes:colour", ["none"]),
        ("-attributes:colour", ["none"]),
        ('attributes:colour AND NOT attributes.colour = "red"', ["blue"]),
        ('attributes.colour = "red" OR (NOT attributes:colour)', ["red", "none"]),
    ],
)
def test_only_matching_messages_are_delivered(project: Project, text: str, expected: list[str]) -> None:
    name = project.subscription(filter=text)
    project.publish("red", colour="red")
    project.publish("blue", colour="blue")
    project.publish("none", other="x")
    found = project.pull(name, at_least=len(expected)) + project.pull_now(name)
    assert data(found) == expected


@pytest.mark.google_deviates("any text is taken")
@pytest.mark.parametrize(
    "text", ["nonsense", 'attributes.a = "x" AND', "attributes:a AND attributes:b OR attributes:c", 'data = "x"']
)
def test_a_bad_filter_is_refused(project: Project, text: str) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(filter=text)


@pytest.mark.google_deviates("no limit")
def test_a_filter_of_257_bytes_is_refused(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(filter=f'attributes.a = "{"x" * 241}"')


def test_the_filter_is_shown(project: Project) -> None:
    name = project.subscription(filter="attributes:a")
    assert project.subscriber.get_subscription(subscription=name).filter == "attributes:a"


@pytest.mark.google_deviates("filters are ignored (attribute filters since Cloud SDK 555)")
@pytest.mark.parametrize("target", ["time", "snapshot"])
def test_a_seek_brings_back_only_what_matches(project: Project, target: str) -> None:
    topic = project.topic(message_retention_duration={"seconds": 600})
    every = project.subscription("every-message", topic=topic)
    snapshot = project.name("snapshots", "snapshot")
    project.subscriber.create_snapshot(name=snapshot, subscription=every)
    name = project.subscription(topic=topic, filter="attributes:colour")
    (_, match) = project.publish("plain", topic=topic) + project.publish("red", topic=topic, colour="red")
    (held,) = project.pull(name)
    project.ack(name, held)
    earlier = held.message.publish_time - datetime.timedelta(minutes=1)
    project.subscriber.seek({"subscription": name, **({"time": earlier} if target == "time" else {target: snapshot})})
    again = project.pull(name) + project.pull_now(name)
    assert [message.message.message_id for message in again] == [match]
