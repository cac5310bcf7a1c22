"""StreamingPull (section 10)."""

from __future__ import annotations

import grpc
import pytest

from tests.kit.conformance.semantics.targets import GLANCE_S, Project


def test_a_stream_gets_what_is_there_and_what_comes(project: Project) -> None:
    name = project.subscription()
    project.publish("before")
    stream = project.stream(name)
    stream.gets(1)
    project.publish("after")
    stream.gets(2)
    assert stream.data == ["before", "after"]


@pytest.mark.parametrize("seconds", [0, 9, 601])
def test_the_stream_needs_an_ack_deadline_within_bounds(project: Project, seconds: int) -> None:
    stream = project.stream(project.subscription(), stream_ack_deadline_seconds=seconds)
    assert stream.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_stream_on_an_absent_subscription_is_not_found(project: Project) -> None:
    stream = project.stream(project.name("subscriptions", "absent"))
    assert stream.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "field",
    [
        "subscription",
        pytest.param("max_outstanding_messages", marks=pytest.mark.google_deviates("taken")),
        pytest.param("max_outstanding_bytes", marks=pytest.mark.google_deviates("taken")),
        pytest.param("protocol_version", marks=pytest.mark.google_deviates("taken")),
    ],
)
def test_a_later_request_must_not_set_what_belongs_to_the_first(project: Project, field: str) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    stream.gets(1)
    stream.send(**{field: name if field == "subscription" else 1})
    assert stream.until(lambda s: s.ended, seconds=2)
    assert stream.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_ack_on_the_stream_counts(project: Project) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    (held,) = stream.gets(1)
    stream.send(ack_ids=[held.ack_id])
    project.publish("b")
    stream.gets(2)
    project.wait(11 if project.target.name == "ours" else 0)
    assert stream.data.count("a") == 1


def test_a_nack_on_the_stream_brings_the_message_again(project: Project) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    (held,) = stream.gets(1)
    stream.send(modify_deadline_ack_ids=[held.ack_id], modify_deadline_seconds=[0])
    stream.gets(2)
    assert stream.data == ["a", "a"]


def test_lists_of_different_length_end_the_stream(project: Project) -> None:
    stream = project.stream(project.subscription())
    stream.send(modify_deadline_ack_ids=["x"], modify_deadline_seconds=[])
    assert stream.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("seconds", [-1, pytest.param(601, marks=pytest.mark.google_deviates("601 is taken"))])
def test_a_deadline_out_of_bounds_ends_the_stream(project: Project, seconds: int) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    (held,) = stream.gets(1)
    stream.send(modify_deadline_ack_ids=[held.ack_id], modify_deadline_seconds=[seconds])
    assert stream.until(lambda s: s.ended, seconds=2)
    assert stream.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_malformed_ack_id_ends_the_stream(project: Project) -> None:
    stream = project.stream(project.subscription())
    stream.send(ack_ids=["nonsense"])
    assert stream.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.google_deviates("ignored: all messages come")
def test_a_stream_holds_no_more_than_max_outstanding_messages(project: Project) -> None:
    name = project.subscription()
    project.publish(*map(str, range(50)))
    stream = project.stream(name, max_outstanding_messages=5)
    stream.gets(5)
    assert not stream.until(lambda s: len(s.messages) > 5, seconds=GLANCE_S)
    stream.send(ack_ids=[message.ack_id for message in stream.messages[:2]])
    stream.gets(7)
    assert not stream.until(lambda s: len(s.messages) > 7, seconds=GLANCE_S)


@pytest.mark.google_deviates("ignored: all messages come")
def test_a_stream_stops_at_max_outstanding_bytes(project: Project) -> None:
    name = project.subscription()
    project.publish(*["x" * 1000] * 50)
    stream = project.stream(name, max_outstanding_bytes=5000)
    stream.gets(5)
    assert not stream.until(lambda s: len(s.messages) > 5, seconds=GLANCE_S)


def test_one_message_may_exceed_max_outstanding_bytes(project: Project) -> None:
    name = project.subscription()
    project.publish("x" * 10_000)
    project.stream(name, max_outstanding_bytes=100).gets(1)


def test_a_nack_makes_room_on_the_stream(project: Project) -> None:
    name = project.subscription()
    project.publish("a", "b")
    stream = project.stream(name, max_outstanding_messages=1)
    (held, *_) = stream.gets(1)
    stream.send(modify_deadline_ack_ids=[held.ack_id], modify_deadline_seconds=[0])
    stream.gets(2)


def test_the_ack_deadline_of_the_stream_rules(project: Project) -> None:
    name = project.subscription(ack_deadline_seconds=600)
    stream = project.stream(name, stream_ack_deadline_seconds=10)
    project.publish("a")
    stream.gets(1)
    project.wait(10)
    stream.gets(2)


def test_the_ack_deadline_of_the_stream_can_be_changed(project: Project) -> None:
    name = project.subscription(ack_deadline_seconds=600)
    stream = project.stream(name, stream_ack_deadline_seconds=600)
    stream.send(stream_ack_deadline_seconds=10)
    assert stream.goes_on()
    project.publish("a")
    stream.gets(1)
    project.wait(10)
    stream.gets(2)


@pytest.mark.google_deviates("no answer in 0.8.20 (since 0.8.32)")
def test_an_empty_request_of_protocol_version_1_is_answered(project: Project) -> None:
    stream = project.stream(project.subscription(), protocol_version=1)
    stream.send()
    assert stream.until(lambda s: len(s.responses) > 0, seconds=2)
    assert not stream.messages


def test_an_empty_request_without_protocol_version_is_a_keepalive(project: Project) -> None:
    stream = project.stream(project.subscription())
    stream.send()
    assert stream.goes_on()
    assert not stream.responses


def test_a_half_close_ends_the_stream_well(project: Project) -> None:
    stream = project.stream(project.subscription())
    stream.half_close()
    assert stream.code() is grpc.StatusCode.OK


def test_what_a_cancelled_stream_held_does_not_come_back_at_once(project: Project) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    stream.gets(1)
    stream.cancel()
    other = project.stream(name)
    assert not other.until(lambda s: len(s.messages) > 0, seconds=GLANCE_S)


def test_a_stream_ends_when_its_subscription_is_deleted(project: Project) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    stream.gets(1)
    project.subscriber.delete_subscription(subscription=name)
    assert stream.code() is grpc.StatusCode.NOT_FOUND


def test_streams_share_the_messages(project: Project) -> None:
    name = project.subscription()
    one, two = project.stream(name), project.stream(name)
    published = []
    # Until both have some: how soon the second stream takes part is up to the server.
    while not (one.messages and two.messages and len(published) >= 40):
        assert len(published) < 400, "one stream gets everything"
        published.append(str(len(published)))
        project.publish(published[-1])
    assert one.until(lambda _: len(one.messages) + len(two.messages) >= len(published))
    assert sorted(one.data + two.data) == sorted(published)


def test_a_stream_says_that_ordering_is_on(project: Project) -> None:
    name = project.subscription(enable_message_ordering=True)
    stream = project.stream(name)
    project.publish("a", key="k")
    stream.gets(1)
    assert any(each.subscription_properties.message_ordering_enabled for each in stream.responses)
