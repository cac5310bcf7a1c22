"""Push delivery to a real HTTP server: what is sent, what acks, how failures are paced, and tokens that verify."""

from __future__ import annotations

import base64
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import google.auth.transport.requests
import httpx2 as httpx
import pytest
from google.oauth2 import id_token
from jwt.exceptions import PyJWTError

from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.server import EmulatorServer
from tests.kit.push_endpoint import Endpoint, Received, open_endpoint
from tests.kit.waiting import until

TOPIC = "projects/p1/topics/orders"
DEAD = "projects/p1/topics/dead"
NAME = "projects/p1/subscriptions/pushed"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with open_endpoint() as endpoint:
        yield endpoint


class Caller:
    """REST calls on one emulator."""

    def __init__(self, server: EmulatorServer) -> None:
        self.server = server
        self._client = httpx.Client(base_url=f"http://{server.address}/v1/", trust_env=False)

    def close(self) -> None:
        self._client.close()

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        response = self._client.request(method, path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def subscribe(self, endpoint: Endpoint, *, push: dict[str, Any] | None = None, **settings: Any) -> None:
        self("PUT", TOPIC, {})
        config = {"pushEndpoint": endpoint.url, **(push or {})}
        self("PUT", NAME, {"topic": TOPIC, "pushConfig": config, **settings})

    def publish(self, *texts: str, **fields: Any) -> list[str]:
        messages = [{"data": base64.b64encode(text.encode()).decode(), **fields} for text in texts]
        ids: list[str] = self("POST", f"{TOPIC}:publish", {"messages": messages})["messageIds"]
        return ids

    @property
    def counts(self) -> dict[str, Any]:
        return self.server.inspect(NAME).counts()

    def acked(self, count: int) -> bool:
        return self.server.call(lambda: self.server.emulator.subscriptions[NAME].finished_count) == count


@pytest.fixture
def call() -> Iterator[Caller]:
    with EmulatorServer() as server:
        caller = Caller(server)
        yield caller
        caller.close()


@pytest.fixture
def stopped() -> Iterator[Caller]:
    """A caller on an emulator whose time stands still until a test moves it."""
    with EmulatorServer(clock=Clock(manual=True)) as server:
        caller = Caller(server)
        yield caller
        caller.close()


class TestRequests:
    def test_a_message_is_posted_in_an_envelope(self, call: Caller, endpoint: Endpoint) -> None:
        call.subscribe(endpoint)
        (message_id,) = call.publish("hello", attributes={"k": "v"}, orderingKey="o")
        until(lambda: call.acked(1))
        (request,) = endpoint.requests
        assert request.path == "/push"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("APIs-Google; (+https://developers.google.com/")
        assert "authorization" not in request.headers
        message = request.envelope["message"]
        assert message.pop("publishTime") == message.pop("publish_time")
        assert request.envelope["subscription"] == NAME
        assert "deliveryAttempt" not in request.envelope
        assert message == {
            "data": base64.b64encode(b"hello").decode(),
            "attributes": {"k": "v"},
            "messageId": message_id,
            "message_id": message_id,
            "orderingKey": "o",
        }

    def test_the_delivery_attempt_is_sent_under_a_dead_letter_policy(self, call: Caller, endpoint: Endpoint) -> None:
        call("PUT", DEAD, {})
        endpoint.answer = lambda request: 200 if request.envelope["deliveryAttempt"] == 3 else 500
        call.subscribe(endpoint, deadLetterPolicy={"deadLetterTopic": DEAD})
        call.publish("x")
        until(lambda: call.acked(1))
        assert [request.envelope["deliveryAttempt"] for request in endpoint.requests] == [1, 2, 3]

    def test_a_message_goes_out_unwrapped(self, call: Caller, endpoint: Endpoint) -> None:
        call.subscribe(endpoint, push={"noWrapper": {}})
        call.publish("raw", attributes={"colour": "red"})
        until(lambda: call.acked(1))
        (request,) = endpoint.requests
        assert request.body == b"raw"
        assert "colour" not in request.headers

    def test_unwrapped_metadata_goes_into_headers(self, call: Caller, endpoint: Endpoint) -> None:
        call.subscribe(endpoint, push={"noWrapper": {"writeMetadata": True}})
        attributes = {"Colour": "red", "content-type": "text/plain", "host": "evil", "not a token": "x", "line": "a\nb"}
        (message_id,) = call.publish("raw", attributes=attributes, orderingKey="o")
        until(lambda: call.acked(1))
        (request,) = endpoint.requests
        assert request.body == b"raw"
        assert request.headers["colour"] == "red"
        assert request.headers["content-type"] == "text/plain"
        assert request.headers["host"] == endpoint.url.split("/")[2]
        assert "line" not in request.headers
        assert request.headers["x-goog-pubsub-message-id"] == message_id
        assert request.headers["x-goog-pubsub-subscription-name"] == NAME
        assert request.headers["x-goog-pubsub-ordering-key"] == "o"
        assert request.headers["x-goog-pubsub-publish-time"].endswith("Z")

    def test_a_query_and_odd_characters_in_the_endpoint_survive(self, call: Caller, endpoint: Endpoint) -> None:
        endpoint.url += "/é a?token=1&x=%20"
        call.subscribe(endpoint)
        call.publish("x")
        until(lambda: call.acked(1))
        assert endpoint.requests[0].path == "/push/%C3%A9%20a?token=1&x=%20"

    def test_connections_are_used_again(self, call: Caller, endpoint: Endpoint) -> None:
        call.subscribe(endpoint)
        for number in range(10):
            call.publish(f"m{number}")
            until(lambda count=number + 1: call.acked(count))  # type: ignore[misc]
        assert endpoint.connections == 1

    def test_an_idle_connection_that_was_closed_costs_nothing(self, call: Caller, endpoint: Endpoint) -> None:
        answers: list[int | None] = [200, None, 200]
        endpoint.answer = lambda _: answers.pop(0)
        call.subscribe(endpoint)
        call.publish("first")
        until(lambda: call.acked(1))
        call.publish("second")  # its first try goes into the connection that the endpoint then closes
        until(lambda: call.acked(2))
        assert endpoint.data == ["first", "second", "second"]


class TestAnswers:
    @pytest.mark.parametrize("status", [102, 200, 201, 202, 204])
    def test_these_ack(self, call: Caller, endpoint: Endpoint, status: int) -> None:
        endpoint.answer = lambda _: status
        call.subscribe(endpoint)
        call.publish("x")
        until(lambda: call.acked(1))
        assert len(endpoint.requests) == 1

    @pytest.mark.parametrize("status", [203, 206, 301, 302, 307, 400, 404, 429, 500, 503, None])
    def test_everything_else_is_a_nack(self, call: Caller, endpoint: Endpoint, status: int | None) -> None:
        answers = [status, 200]
        endpoint.answer = lambda _: answers.pop(0)
        call.subscribe(endpoint)
        call.publish("x")
        until(lambda: call.acked(1))
        assert endpoint.data == ["x", "x"]
        assert {request.path for request in endpoint.requests} == {"/push"}

    def test_an_endpoint_that_is_not_there_is_tried_again(
        self, stopped: Caller, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nowhere = Endpoint(url=f"http://127.0.0.1:{unused.getsockname()[1]}/push")
            with caplog.at_level(logging.WARNING):
                stopped.subscribe(nowhere)
                stopped.publish("x")
                until(lambda: "failed, it is tried again" in caplog.text)
        assert stopped.counts["undelivered"] == 1
        assert nowhere.url in caplog.text


class TestPace:
    def test_without_a_retry_policy_the_subscription_waits_longer_and_longer(
        self, stopped: Caller, endpoint: Endpoint
    ) -> None:
        endpoint.answer = lambda _: 500
        stopped.subscribe(endpoint)
        stopped.publish("x")
        until(lambda: len(endpoint.requests) == 1 and stopped.counts["outstanding"] == 0)
        for place, pause_s in enumerate([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0], start=1):
            stopped.server.clock.advance(pause_s - 0.01)
            assert len(endpoint.requests) == place
            stopped.server.clock.advance(0.02)
            until(lambda count=place + 1: len(endpoint.requests) == count)  # type: ignore[misc]
            until(lambda: stopped.counts["outstanding"] == 0)

    def test_a_failure_holds_back_the_other_messages_and_a_success_ends_the_backoff(
        self, stopped: Caller, endpoint: Endpoint
    ) -> None:
        endpoint.answer = lambda _: 500
        stopped.subscribe(endpoint)
        stopped.publish("a")
        until(lambda: len(endpoint.requests) == 1 and stopped.counts["outstanding"] == 0)
        stopped.publish("b")
        assert stopped.counts["outstanding"] == 0
        endpoint.answer = lambda _: 200
        stopped.server.clock.advance(0.11)
        until(lambda: stopped.acked(2))
        stopped.publish("c")
        until(lambda: stopped.acked(3))

    def test_with_a_retry_policy_each_message_waits_for_itself(self, stopped: Caller, endpoint: Endpoint) -> None:
        endpoint.answer = lambda request: 500 if request.data == "bad" else 200
        stopped.subscribe(endpoint, retryPolicy={"minimumBackoff": "100s", "maximumBackoff": "600s"})
        stopped.publish("bad")
        until(lambda: len(endpoint.requests) == 1 and stopped.counts["delayed"] == 1)
        stopped.publish("good")
        until(lambda: stopped.acked(1))
        stopped.server.clock.advance(99)
        assert endpoint.data == ["bad", "good"]
        stopped.server.clock.advance(2)
        until(lambda: endpoint.data == ["bad", "good", "bad"])

    def test_the_window_starts_small_and_grows_with_success(self, call: Caller, endpoint: Endpoint) -> None:
        gate = threading.Event()
        endpoint.answer = lambda _: 200 if gate.wait(5) else 500
        call.subscribe(endpoint)
        call.publish(*(f"m{number}" for number in range(60)))
        until(lambda: endpoint.under_way == 2)
        assert call.counts["outstanding"] == 2
        gate.set()
        until(lambda: call.acked(60))
        endpoint.most_under_way = 0
        gate.clear()
        call.publish(*(f"n{number}" for number in range(60)))
        until(lambda: endpoint.under_way == 60)
        gate.set()
        until(lambda: call.acked(120))

    def test_a_push_that_hangs_fails_at_the_ack_deadline(self, stopped: Caller, endpoint: Endpoint) -> None:
        gate = threading.Event()
        endpoint.answer = lambda _: 200 if gate.wait(5) else 500
        stopped.subscribe(endpoint, ackDeadlineSeconds=30)
        stopped.publish("x")
        until(lambda: endpoint.under_way == 1)
        stopped.server.clock.advance(29)
        assert stopped.counts["outstanding"] == 1
        stopped.server.clock.advance(1)
        assert stopped.counts["outstanding"] == 0
        stopped.server.clock.advance(0.11)
        until(lambda: len(endpoint.requests) == 2)
        gate.set()
        until(lambda: stopped.acked(1))

    def test_five_failures_make_a_dead_letter(self, stopped: Caller, endpoint: Endpoint) -> None:
        stopped("PUT", DEAD, {})
        stopped("PUT", "projects/p1/subscriptions/dead", {"topic": DEAD})
        endpoint.answer = lambda _: 500
        stopped.subscribe(
            endpoint,
            deadLetterPolicy={"deadLetterTopic": DEAD, "maxDeliveryAttempts": 5},
            retryPolicy={"minimumBackoff": "600s", "maximumBackoff": "600s"},
        )
        stopped.publish("poison")
        for attempt in range(1, 5):
            until(lambda count=attempt: len(endpoint.requests) == count and stopped.counts["delayed"] == 1)  # type: ignore[misc]
            stopped.server.clock.advance(600)
        until(lambda: stopped.acked(1))
        assert [request.envelope["deliveryAttempt"] for request in endpoint.requests] == [1, 2, 3, 4, 5]
        pulled = stopped("POST", "projects/p1/subscriptions/dead:pull", {"maxMessages": 1})
        attributes = pulled["receivedMessages"][0]["message"]["attributes"]
        assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"

    def test_an_ordered_key_has_one_push_at_a_time_in_order(self, call: Caller, endpoint: Endpoint) -> None:
        failing = {"k2"}

        def answer(request: Received) -> int:
            if request.data in failing:
                failing.discard(request.data)
                return 500
            return 200

        endpoint.answer = answer
        call.subscribe(endpoint, enableMessageOrdering=True)
        call.publish(*(f"k{number}" for number in range(6)), orderingKey="k")
        until(lambda: call.acked(6))
        assert endpoint.data == ["k0", "k1", "k2", "k2", "k3", "k4", "k5"]
        assert endpoint.most_under_way == 1


class TestChanges:
    def test_a_pull_subscription_that_turns_push_gets_its_backlog_pushed(
        self, call: Caller, endpoint: Endpoint
    ) -> None:
        call("PUT", TOPIC, {})
        call("PUT", NAME, {"topic": TOPIC})
        call.publish("before")
        call("POST", f"{NAME}:modifyPushConfig", {"pushConfig": {"pushEndpoint": endpoint.url}})
        until(lambda: call.acked(1))
        assert endpoint.data == ["before"]

    def test_a_push_subscription_that_turns_pull_is_pushed_no_more(self, call: Caller, endpoint: Endpoint) -> None:
        call.subscribe(endpoint)
        call("POST", f"{NAME}:modifyPushConfig", {"pushConfig": {}})
        call.publish("x")
        pulled = call("POST", f"{NAME}:pull", {"maxMessages": 1})
        assert pulled["receivedMessages"][0]["message"]["data"] == base64.b64encode(b"x").decode()
        assert endpoint.requests == []

    def test_a_new_endpoint_takes_over(self, call: Caller, endpoint: Endpoint) -> None:
        call.subscribe(endpoint)
        new = {"pushConfig": {"pushEndpoint": endpoint.url + "/new"}}
        call("PATCH", NAME, {"subscription": new, "updateMask": "pushConfig"})
        call.publish("x")
        until(lambda: call.acked(1))
        assert endpoint.requests[0].path == "/push/new"

    @pytest.mark.parametrize("end", ["detach", "delete", "reset"])
    def test_nothing_is_pushed_after_the_end_of_a_subscription(
        self, call: Caller, endpoint: Endpoint, end: str
    ) -> None:
        gate = threading.Event()
        endpoint.answer = lambda _: 500 if gate.wait(5) else 200
        call.subscribe(endpoint)
        call.publish("x")
        until(lambda: endpoint.under_way == 1)
        if end == "detach":
            call("POST", f"{NAME}:detach")
        elif end == "delete":
            call("DELETE", NAME)
        else:
            call.server.reset()
        gate.set()
        until(lambda: endpoint.under_way == 0)
        call.server.clock.advance(600)
        assert len(endpoint.requests) == 1

    def test_pushes_go_on_after_an_injected_restart(self, call: Caller, endpoint: Endpoint) -> None:
        gate = threading.Event()
        endpoint.answer = lambda _: 200 if gate.wait(5) else 500
        call.subscribe(endpoint)
        call.publish("x")
        until(lambda: endpoint.under_way == 1)
        call.server.faults.restart()
        until(lambda: len(endpoint.requests) == 2)
        gate.set()
        until(lambda: call.acked(1))

    def test_a_server_that_stops_gives_up_its_pushes(self, endpoint: Endpoint) -> None:
        gate = threading.Event()
        endpoint.answer = lambda _: 200 if gate.wait(5) else 500
        with EmulatorServer() as server:
            caller = Caller(server)
            caller.subscribe(endpoint)
            caller.publish("x")
            until(lambda: endpoint.under_way == 1)
            caller.close()
            began = time.monotonic()
        assert time.monotonic() - began < 2
        gate.set()


class TestTokens:
    EMAIL = "pusher@p1.iam.gserviceaccount.com"

    def token(self, call: Caller, endpoint: Endpoint, **oidc: str) -> str:
        call.subscribe(endpoint, push={"oidcToken": {"serviceAccountEmail": self.EMAIL, **oidc}})
        call.publish("x")
        until(lambda: call.acked(1))
        kind, token = endpoint.requests[0].headers["authorization"].split(" ")
        assert kind == "Bearer"
        return token

    def verify(self, call: Caller, token: str, audience: str) -> Any:
        """As a receiver would, with Google's own library, told where the keys are."""
        base = f"http://{call.server.address}/admin/oidc"
        configuration = httpx.get(f"{base}/.well-known/openid-configuration", trust_env=False).json()
        request = google.auth.transport.requests.Request()
        try:
            return id_token.verify_token(token, request, audience, certs_url=configuration["jwks_uri"])
        finally:
            request.session.close()

    def test_a_token_verifies_against_the_emulators_keys(self, call: Caller, endpoint: Endpoint) -> None:
        claims = self.verify(call, self.token(call, endpoint), endpoint.url)
        assert claims["iss"] == "https://accounts.google.com"
        assert claims["email"] == self.EMAIL
        assert claims["email_verified"] is True
        assert claims["aud"] == endpoint.url
        assert claims["exp"] - claims["iat"] == 3600
        assert claims["sub"].isdigit()

    def test_the_audience_may_be_given(self, call: Caller, endpoint: Endpoint) -> None:
        token = self.token(call, endpoint, audience="my-service")
        assert self.verify(call, token, "my-service")["aud"] == "my-service"

    def test_a_token_of_another_emulator_does_not_verify(
        self, call: Caller, stopped: Caller, endpoint: Endpoint
    ) -> None:
        token = self.token(stopped, endpoint)
        with pytest.raises(PyJWTError, match="signing key"):
            self.verify(call, token, endpoint.url)
