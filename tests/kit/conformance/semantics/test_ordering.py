"""Ordering keys (section 7)."""

from __future__ import annotations

import pytest

from tests.kit.conformance.semantics.targets import Project, data


def ordered(project: Project, **fields: object) -> str:
    return project.subscription(enable_message_ordering=True, **fields)


def test_a_pull_gets_the_messages_of_a_key_in_order(project: Project) -> None:
    name = ordered(project)
    for number in range(5):
        project.publish(str(number), key="k")
    got: list[str] = []
    while len(got) < 5:
        held = project.pull(name)
        got += data(held)
        project.ack(name, *held)
    assert got == ["0", "1", "2", "3", "4"]


def test_a_further_pull_gets_nothing_of_a_key_with_outstanding_messages(project: Project) -> None:
    name = ordered(project)
    project.publish("1", key="k")
    assert data(project.pull(name)) == ["1"]
    project.publish("2", key="k")
    assert project.gets_nothing(name)
    project.publish("other", key="l")
    assert data(project.pull(name)) == ["other"]


def test_a_key_goes_to_one_stream_in_order(project: Project) -> None:
    name = ordered(project)
    one, two = project.stream(name), project.stream(name)
    project.publish(*map(str, range(20)), key="k")
    assert one.until(lambda _: len(one.messages) + len(two.messages) >= 20)
    assert sorted([len(one.messages), len(two.messages)]) == [0, 20]
    assert one.data + two.data == [str(number) for number in range(20)]


def test_after_an_expired_deadline_all_later_messages_of_the_key_come_again_even_if_acked(project: Project) -> None:
    name = ordered(project)
    stream = project.stream(name)
    project.publish("0", "1", "2", key="k")
    first, *later = stream.gets(3)
    project.ack(name, *later)
    project.modify(name, first, seconds=1)
    project.wait(1.5)
    stream.gets(6)
    assert stream.data == ["0", "1", "2", "0", "1", "2"]


@pytest.mark.google_deviates("later messages come before the nacked one")
def test_after_a_nack_all_later_messages_of_the_key_come_again_in_order(project: Project) -> None:
    name = ordered(project)
    stream = project.stream(name)
    project.publish("0", "1", "2", key="k")
    first, *_ = stream.gets(3)
    project.nack(name, first)
    stream.until(lambda s: len(s.messages) >= 6, seconds=2)
    assert stream.data == ["0", "1", "2", "0", "1", "2"]


def test_without_ordering_a_key_holds_nothing_up_and_still_travels(project: Project) -> None:
    name = project.subscription()
    project.publish("1", key="k")
    project.pull(name)
    project.publish("2", key="k")
    (second,) = project.pull(name)
    assert (second.message.data, second.message.ordering_key) == (b"2", "k")


def test_with_exactly_once_an_ack_before_its_turn_fails_for_the_time_being(project: Project) -> None:
    from google.rpc.error_details_pb2 import ErrorInfo

    name = ordered(project, enable_exactly_once_delivery=True)
    stream = project.stream(name)
    project.publish("0", "1", key="k")
    first, second = stream.gets(2)
    from google.api_core.exceptions import InvalidArgument

    with pytest.raises(InvalidArgument) as caught:
        project.ack(name, second)
    (info,) = [detail for detail in caught.value.details if isinstance(detail, ErrorInfo)]
    assert dict(info.metadata) == {second.ack_id: "TRANSIENT_FAILURE_UNORDERED_ACK_ID"}
    project.ack(name, first)
    project.ack(name, second)


def test_a_key_goes_to_one_of_a_clients_streams(project: Project) -> None:
    name = ordered(project)
    one, two = project.stream(name, client_id="client"), project.stream(name, client_id="client")
    project.publish(*map(str, range(20)), key="k")
    assert one.until(lambda _: len(one.messages) + len(two.messages) >= 20)
    assert sorted([len(one.messages), len(two.messages)]) == [0, 20]
    assert one.data + two.data == [str(number) for number in range(20)]


@pytest.mark.google_deviates("the key waits for the lease of the closed stream")
def test_a_client_that_comes_back_keeps_its_keys(project: Project) -> None:
    name = ordered(project)
    one = project.stream(name, client_id="client-1")
    project.publish("0", key="k")
    one.gets(1)
    two = project.stream(name, client_id="client-2")
    one.cancel()
    again = project.stream(name, client_id="client-1")
    assert again.goes_on()
    project.publish("1", key="k")
    assert again.until(lambda s: bool(s.messages), seconds=3)
    assert (again.data, two.data) == (["1"], [])


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_seek_brings_a_key_back_in_order(project: Project) -> None:
    name = ordered(project, retain_acked_messages=True)
    for number in range(4):
        project.publish(str(number), key="k")
    held = project.pull(name, at_least=4)
    project.ack(name, *held)
    project.subscriber.seek({"subscription": name, "time": held[0].message.publish_time})
    assert data(project.pull(name, at_least=4)) == ["0", "1", "2", "3"]
