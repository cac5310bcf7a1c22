"""Exactly-once delivery (section 8)."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument
from google.rpc.error_details_pb2 import ErrorInfo

from tests.kit.conformance.semantics.targets import GLANCE_S, Project

INVALID = "PERMANENT_FAILURE_INVALID_ACK_ID"


def start(project: Project) -> tuple[str, Any]:
    name = project.subscription(enable_exactly_once_delivery=True)
    project.publish("a")
    (held,) = project.pull(name)
    return name, held


def failures(project: Project, name: str, *ids: str) -> dict[str, str]:
    with pytest.raises(InvalidArgument) as caught:
        project.subscriber.acknowledge(subscription=name, ack_ids=list(ids))
    infos = [detail for detail in caught.value.details if isinstance(detail, ErrorInfo)]
    assert [(info.reason, info.domain) for info in infos] == [("EXACTLY_ONCE_ACKID_FAILURE", "pubsub.googleapis.com")]
    return dict(infos[0].metadata)


def test_a_used_ack_id_fails_with_its_reason(project: Project) -> None:
    name, held = start(project)
    project.ack(name, held)
    assert failures(project, name, held.ack_id) == {held.ack_id: INVALID}


def test_the_ack_id_of_an_earlier_delivery_fails(project: Project) -> None:
    name, held = start(project)
    project.nack(name, held)
    project.pull(name)
    assert failures(project, name, held.ack_id) == {held.ack_id: INVALID}


@pytest.mark.google_deviates("an expired id acks successfully")
def test_an_expired_ack_id_fails(project: Project) -> None:
    name, held = start(project)
    project.modify(name, held, seconds=1)
    project.wait(1.5)
    assert failures(project, name, held.ack_id) == {held.ack_id: INVALID}


@pytest.mark.google_deviates("plain INVALID_ARGUMENT without details")
def test_a_malformed_ack_id_fails_alone_and_the_others_succeed(project: Project) -> None:
    name, held = start(project)
    assert failures(project, name, held.ack_id, "nonsense") == {"nonsense": INVALID}
    assert failures(project, name, held.ack_id) == {held.ack_id: INVALID}


def test_modifying_the_deadline_of_a_used_id_fails(project: Project) -> None:
    name, held = start(project)
    project.ack(name, held)
    with pytest.raises(InvalidArgument) as caught:
        project.modify(name, held, seconds=10)
    assert any(isinstance(detail, ErrorInfo) for detail in caught.value.details)


def test_a_stream_says_that_delivery_is_exactly_once(project: Project) -> None:
    name = project.subscription(enable_exactly_once_delivery=True)
    stream = project.stream(name)
    project.publish("a")
    stream.gets(1)
    assert any(each.subscription_properties.exactly_once_delivery_enabled for each in stream.responses)


@pytest.mark.google_deviates("no confirmations")
def test_a_stream_confirms_acks(project: Project) -> None:
    name = project.subscription(enable_exactly_once_delivery=True)
    stream = project.stream(name)
    project.publish("a")
    (held,) = stream.gets(1)
    stream.send(ack_ids=[held.ack_id])
    assert stream.until(
        lambda s: any(r.acknowledge_confirmation.ack_ids == [held.ack_id] for r in s.responses), seconds=2
    )
    stream.send(ack_ids=[held.ack_id])
    assert stream.until(lambda s: any(r.acknowledge_confirmation.invalid_ack_ids for r in s.responses), seconds=2)


@pytest.mark.google_deviates("no confirmations")
def test_a_stream_confirms_modified_deadlines(project: Project) -> None:
    name = project.subscription(enable_exactly_once_delivery=True)
    stream = project.stream(name)
    project.publish("a")
    (held,) = stream.gets(1)
    stream.send(modify_deadline_ack_ids=[held.ack_id], modify_deadline_seconds=[60])
    assert stream.until(
        lambda s: any(r.modify_ack_deadline_confirmation.ack_ids == [held.ack_id] for r in s.responses), seconds=2
    )


def test_an_id_that_a_request_repeats_succeeds_once(project: Project) -> None:
    name, held = start(project)
    project.ack(name, held, held)
    project.wait(11 if project.target.name == "ours" else 0)
    assert project.gets_nothing(name)


@pytest.mark.google_deviates("no confirmations")
def test_a_stream_names_the_deadlines_that_could_not_be_modified(project: Project) -> None:
    name = project.subscription(enable_exactly_once_delivery=True)
    stream = project.stream(name)
    project.publish("a")
    (held,) = stream.gets(1)
    stream.send(ack_ids=[held.ack_id])
    stream.send(modify_deadline_ack_ids=[held.ack_id], modify_deadline_seconds=[60])
    assert stream.until(
        lambda s: any(r.modify_ack_deadline_confirmation.invalid_ack_ids == [held.ack_id] for r in s.responses),
        seconds=2,
    )


@pytest.mark.google_deviates("no confirmations")
def test_a_stream_names_the_acks_that_came_before_their_turn(project: Project) -> None:
    name = project.subscription(enable_exactly_once_delivery=True, enable_message_ordering=True)
    stream = project.stream(name)
    project.publish("0", "1", key="k")
    _, second = stream.gets(2)
    stream.send(ack_ids=[second.ack_id])
    assert stream.until(
        lambda s: any(r.acknowledge_confirmation.unordered_ack_ids == [second.ack_id] for r in s.responses), seconds=2
    )


def test_a_stream_reports_when_delivery_becomes_exactly_once(project: Project) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    stream.gets(1)
    assert not any(each.subscription_properties.exactly_once_delivery_enabled for each in stream.responses)
    project.subscriber.update_subscription(
        {
            "subscription": {"name": name, "enable_exactly_once_delivery": True},
            "update_mask": {"paths": ["enable_exactly_once_delivery"]},
        }
    )
    project.publish("b")
    stream.gets(2)
    assert stream.responses[-1].subscription_properties.exactly_once_delivery_enabled


def test_nothing_comes_again_before_its_deadline_is_over(project: Project) -> None:
    name, _ = start(project)
    stream = project.stream(name)
    project.wait(9 if project.target.name == "ours" else 0)
    assert not stream.until(lambda s: bool(s.messages), seconds=GLANCE_S)
