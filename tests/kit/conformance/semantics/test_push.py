"""Push (section 11); what only a moved clock can show is in tests/kit/integration/pubsub/test_push.py."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.conformance.semantics.targets import GLANCE_S, PATIENCE_S, Project, data, refused
from tests.kit.push_endpoint import Endpoint, Received, open_endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with open_endpoint() as endpoint:
        yield endpoint


def pushed(project: Project, endpoint: Endpoint, *, push: dict[str, Any] | None = None, **fields: Any) -> str:
    return project.subscription(push_config={"push_endpoint": endpoint.url, **(push or {})}, **fields)


def gets(endpoint: Endpoint, count: int, *, seconds: float = PATIENCE_S) -> list[Received]:
    """Waits for so many requests."""
    deadline = time.monotonic() + seconds
    while len(endpoint.requests) < count:
        assert time.monotonic() < deadline, f"{len(endpoint.requests)} of {count} requests"
        time.sleep(0.01)
    return list(endpoint.requests)


def test_a_message_is_posted_in_an_envelope(project: Project, endpoint: Endpoint) -> None:
    name = pushed(project, endpoint)
    (id,) = project.publish("hello", colour="red")
    (request,) = gets(endpoint, 1)
    assert request.headers["content-type"].startswith("application/json")
    assert request.envelope["subscription"] == name
    message = request.envelope["message"]
    assert base64.b64decode(message["data"]) == b"hello"
    assert message["attributes"] == {"colour": "red"}
    assert message["messageId"] == message["message_id"] == id
    assert message["publishTime"] == message["publish_time"]


@pytest.mark.google_deviates("Java's")
def test_the_user_agent_is_googles(project: Project, endpoint: Endpoint) -> None:
    pushed(project, endpoint)
    project.publish("a")
    assert gets(endpoint, 1)[0].headers["user-agent"].startswith("APIs-Google; (+https://developers.google.com/")


@pytest.mark.google_deviates("no orderingKey")
def test_the_envelope_has_the_ordering_key(project: Project, endpoint: Endpoint) -> None:
    pushed(project, endpoint, enable_message_ordering=True)
    project.publish("a", key="k")
    assert gets(endpoint, 1)[0].envelope["message"]["orderingKey"] == "k"


@pytest.mark.google_deviates("no deliveryAttempt")
def test_the_envelope_has_the_attempt_under_a_dead_letter_policy(project: Project, endpoint: Endpoint) -> None:
    pushed(project, endpoint, dead_letter_policy={"dead_letter_topic": project.topic("dead")})
    project.publish("a")
    assert gets(endpoint, 1)[0].envelope["deliveryAttempt"] == 1


@pytest.mark.parametrize(
    "status",
    [
        200,
        201,
        pytest.param(202, marks=pytest.mark.google_deviates("202 nacks")),
        204,
    ],
)
def test_these_answers_ack(project: Project, endpoint: Endpoint, status: int) -> None:
    endpoint.answer = lambda _: status
    pushed(project, endpoint)
    project.publish("a")
    gets(endpoint, 1)
    time.sleep(1.5 if project.target.name == "google" else GLANCE_S)  # Google's tries again after 1 s
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "status", [pytest.param(203, marks=pytest.mark.google_deviates("203 acks")), 301, 400, 404, 429, 500, 503]
)
def test_every_other_answer_is_a_nack(project: Project, endpoint: Endpoint, status: int) -> None:
    endpoint.answer = lambda _: status if len(endpoint.requests) == 1 else 200
    pushed(project, endpoint)
    project.publish("a")
    assert [request.path for request in gets(endpoint, 2, seconds=3)] == ["/push", "/push"]
    assert endpoint.data == ["a", "a"]


def test_a_push_without_the_envelope_is_the_data(project: Project, endpoint: Endpoint) -> None:
    name = pushed(project, endpoint, push={"no_wrapper": {"write_metadata": True}})
    (id,) = project.publish(b"\x00raw", colour="red")
    (request,) = gets(endpoint, 1)
    assert request.body == b"\x00raw"
    assert request.headers["colour"] == "red"
    assert request.headers["x-goog-pubsub-message-id"] == id
    assert request.headers["x-goog-pubsub-subscription-name"] == name
    assert request.headers["x-goog-pubsub-publish-time"]


@pytest.mark.google_deviates("no token")
def test_a_push_carries_a_token_if_asked(project: Project, endpoint: Endpoint) -> None:
    pushed(project, endpoint, push={"oidc_token": {"service_account_email": "pusher@p1.iam.gserviceaccount.com"}})
    project.publish("a")
    scheme, _, token = gets(endpoint, 1)[0].headers.get("authorization", "").partition(" ")
    assert scheme == "Bearer"
    assert len(token.split(".")) == 3


def test_an_ordered_key_has_one_push_at_a_time(project: Project, endpoint: Endpoint) -> None:
    endpoint.answer = lambda _: time.sleep(0.02) or 200
    pushed(project, endpoint, enable_message_ordering=True)
    project.publish(*map(str, range(5)), key="k")
    gets(endpoint, 5)
    assert endpoint.data == ["0", "1", "2", "3", "4"]
    assert endpoint.most_under_way == 1


def test_five_refusals_make_a_dead_letter(project: Project, endpoint: Endpoint) -> None:
    endpoint.answer = lambda _: 500
    dead = project.topic("dead")
    letters = project.subscription("letters", topic=dead)
    pushed(project, endpoint, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    project.publish("poison")
    assert data(project.pull(letters)) == ["poison"]
    assert len(endpoint.requests) == 5


def test_a_subscription_that_gets_an_endpoint_pushes_its_backlog(project: Project, endpoint: Endpoint) -> None:
    name = project.subscription()
    project.publish("a")
    project.subscriber.modify_push_config(subscription=name, push_config={"push_endpoint": endpoint.url})
    gets(endpoint, 1)
    assert endpoint.data == ["a"]


def test_a_subscription_that_loses_its_endpoint_can_be_pulled(project: Project, endpoint: Endpoint) -> None:
    name = pushed(project, endpoint)
    project.subscriber.modify_push_config(subscription=name, push_config={})
    project.publish("a")
    assert data(project.pull(name)) == ["a"]
    assert endpoint.requests == []


def test_a_bad_endpoint_is_refused_when_it_is_changed(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscriber.modify_push_config(subscription=project.subscription(), push_config={"push_endpoint": "x"})
