"""Pull, Acknowledge, ModifyAckDeadline, retry policy (section 5)."""

from __future__ import annotations

import threading
import time

import pytest

from tests.kit.conformance.semantics.targets import Project, data, refused


@pytest.mark.parametrize("name", ["zero", pytest.param("negative", marks=pytest.mark.google_deviates("taken"))])
def test_a_pull_must_ask_for_messages(project: Project, name: str) -> None:
    subscription = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.pull_now(subscription, 0 if name == "zero" else -1)


def test_a_pull_gets_no_more_than_it_asks_for(project: Project) -> None:
    name = project.subscription()
    project.publish(*map(str, range(10)))
    assert 1 <= len(project.pull(name, 3)) <= 3


def test_a_pull_gets_no_more_than_1000_messages_and_10_mb(project: Project) -> None:
    name = project.subscription()
    for _ in range(2):
        project.publish(*["x"] * 600)
    assert len(project.pull_now(name, 5000)) <= 1000
    project.publish(*[b"x" * 3_000_000] * 3)
    project.publish(*[b"x" * 3_000_000] * 3)
    size = 0
    while size < 18_000_000:
        held = project.pull(name, 5000)
        assert held, "not all came"
        assert sum(len(message.message.data) for message in held) <= 10_000_000
        size += sum(len(message.message.data) for message in held)


def test_a_pull_waits_for_a_message(project: Project) -> None:
    name = project.subscription()
    timer = threading.Timer(0.3, lambda: project.publish("late"))
    timer.start()
    answer = project.subscriber.pull(subscription=name, max_messages=1, timeout=8)
    timer.join()
    assert data(list(answer.received_messages)) == ["late"]


def test_a_pull_that_returns_immediately_does_so_empty(project: Project) -> None:
    started = time.monotonic()
    assert project.pull_now(project.subscription()) == []
    assert time.monotonic() - started < 3


@pytest.mark.google_deviates("answers, empty")
def test_a_pull_on_a_push_subscription_is_refused(project: Project) -> None:
    name = project.subscription(push_config={"push_endpoint": "http://127.0.0.1:1/"})
    with refused("FAILED_PRECONDITION", "INVALID_ARGUMENT"):
        project.pull_now(name)


def test_an_acked_message_does_not_come_back(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    held = project.pull(name)
    project.modify(name, *held, seconds=1)
    project.ack(name, *held)
    project.wait(1.5)
    assert project.gets_nothing(name)


def test_a_message_whose_deadline_is_over_comes_back_under_a_new_ack_id(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    held = project.pull(name)
    project.modify(name, *held, seconds=1)
    assert project.gets_nothing(name)
    project.wait(1.5)
    again = project.pull(name)
    assert data(again) == ["a"]
    assert again[0].ack_id != held[0].ack_id


def test_a_nacked_message_comes_back_at_once(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    project.nack(name, *project.pull(name))
    assert data(project.pull(name)) == ["a"]


def test_acking_twice_or_late_is_no_error(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    held = project.pull(name)
    project.ack(name, *held)
    project.ack(name, *held)


def test_the_ack_id_of_an_earlier_delivery_does_not_ack(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    old = project.pull(name)
    project.nack(name, *old)
    new = project.pull(name)
    project.ack(name, *old)
    project.nack(name, *new)
    assert data(project.pull(name)) == ["a"]


def test_a_malformed_ack_id_fails_the_whole_request(project: Project) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscriber.acknowledge(subscription=name, ack_ids=["nonsense"])
    with refused("INVALID_ARGUMENT"):
        project.subscriber.modify_ack_deadline(subscription=name, ack_ids=["nonsense"], ack_deadline_seconds=10)


def test_one_malformed_ack_id_lets_the_others_fail_too(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    (held,) = project.pull(name)
    with refused("INVALID_ARGUMENT"):
        project.subscriber.acknowledge(subscription=name, ack_ids=[held.ack_id, "nonsense"])
    project.nack(name, held)
    assert data(project.pull(name)) == ["a"]


def test_an_ack_id_of_another_subscription_is_refused(project: Project) -> None:
    one, two = project.subscription("one-1"), project.subscription("two-2")
    project.publish("a")
    held = project.pull(one)
    with refused("INVALID_ARGUMENT"):
        project.ack(two, *held)


def test_an_empty_list_of_ack_ids_is_refused(project: Project) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.subscriber.acknowledge(subscription=name, ack_ids=[])
    with refused("INVALID_ARGUMENT"):
        project.subscriber.modify_ack_deadline(subscription=name, ack_ids=[], ack_deadline_seconds=10)


def test_acking_on_an_absent_subscription_is_not_found(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.subscriber.acknowledge(subscription=project.name("subscriptions", "absent"), ack_ids=["x"])


@pytest.mark.parametrize("seconds", [-1, pytest.param(601, marks=pytest.mark.google_deviates("601 is taken"))])
def test_a_deadline_out_of_bounds_is_refused(project: Project, seconds: int) -> None:
    name = project.subscription()
    project.publish("a")
    held = project.pull(name)
    with refused("INVALID_ARGUMENT"):
        project.modify(name, *held, seconds=seconds)


@pytest.mark.google_deviates("20,000 ids are taken")
def test_an_ack_request_over_512_kib_is_refused(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    (held,) = project.pull(name)
    too_many = 512 * 1024 // len(held.ack_id) + 1
    with refused("INVALID_ARGUMENT"):
        project.subscriber.acknowledge(subscription=name, ack_ids=[held.ack_id] * too_many)
    with refused("INVALID_ARGUMENT"):
        project.modify(name, *[held] * too_many, seconds=10)


def test_each_subscription_gets_its_own_copy(project: Project) -> None:
    one, two = project.subscription("one-1"), project.subscription("two-2")
    project.publish("a")
    project.ack(one, *project.pull(one))
    assert data(project.pull(two)) == ["a"]


@pytest.mark.google_deviates("the first nack redelivers at once")
def test_the_retry_policy_holds_from_the_first_nack(project: Project) -> None:
    name = project.subscription(retry_policy={"minimum_backoff": {"seconds": 1}, "maximum_backoff": {"seconds": 1}})
    project.publish("a")
    project.nack(name, *project.pull(name))
    assert project.gets_nothing(name)
    project.wait(1.1)
    assert data(project.pull(name)) == ["a"]


@pytest.mark.google_deviates("no backoff after an expired deadline")
def test_the_retry_policy_holds_after_an_expired_deadline(project: Project) -> None:
    name = project.subscription(retry_policy={"minimum_backoff": {"seconds": 3}, "maximum_backoff": {"seconds": 3}})
    project.publish("a")
    project.modify(name, *project.pull(name), seconds=1)
    project.wait(2)
    assert project.gets_nothing(name)
    project.wait(2.5)
    assert data(project.pull(name)) == ["a"]


def test_other_messages_flow_while_one_waits_for_its_backoff(project: Project) -> None:
    name = project.subscription(retry_policy={"minimum_backoff": {"seconds": 60}, "maximum_backoff": {"seconds": 60}})
    project.publish("a")
    project.nack(name, *project.pull(name))
    project.publish("b")
    assert "b" in data(project.pull(name) + project.pull_now(name))
