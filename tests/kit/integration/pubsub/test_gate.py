"""IAM that is enforced, and quotas: what fails in the cloud for want of a grant or for too much fails here."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import PermissionDenied, ResourceExhausted
from google.iam.v1 import iam_policy_pb2
from google.rpc import error_details_pb2

from poolhouse_pubsub.server import EmulatorServer
from poolhouse_pubsub.service.access import _NEEDS, ROLES
from poolhouse_pubsub.service.throughput import parse_quota
from tests.kit.conformance.semantics.targets import Clients, Project, Target

OWNER, WORKER, STRANGER = "owner@example.com", "worker@p.iam.gserviceaccount.com", "stranger@example.com"
AGENT = "serviceAccount:service-123@gcp-sa-pubsub.iam.gserviceaccount.com"


class Caller(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    """Sends who calls with every call."""

    def __init__(self, metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def _with_caller(self, details: Any) -> Any:
        changed = [*(details.metadata or ()), self._metadata]
        return grpc._interceptor._ClientCallDetails(**{**details._asdict(), "metadata": changed})

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._with_caller(client_call_details), request)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._with_caller(client_call_details), request_iterator)


def as_user(server: EmulatorServer, *metadata: str) -> Project:
    """A project whose calls come from somebody."""
    header = metadata if len(metadata) == 2 else ("x-goog-authenticated-user-email", metadata[0])
    clients = Clients(Target("ours", server.address, server.clock.advance))
    clients.use(grpc.intercept_channel(clients.channel, Caller((header[0], header[1]))))
    project = Project(clients)
    project.id, project.path = "p", "projects/p"
    return project


def bind(project: Project, resource: str, role: str, member: str) -> None:
    policy = project.clients.iam.GetIamPolicy(iam_policy_pb2.GetIamPolicyRequest(resource=resource))
    policy.bindings.add(role=role, members=[member])
    project.clients.iam.SetIamPolicy(iam_policy_pb2.SetIamPolicyRequest(resource=resource, policy=policy))


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(enforce_iam={"roles/owner": [f"user:{OWNER}"]}) as running:
        yield running


def test_every_rpc_needs_a_permission_that_a_role_grants() -> None:
    with EmulatorServer() as running:
        rpcs = {method.name for method in running.core.service.methods.values()} | {"StreamingPull"}
    assert rpcs == set(_NEEDS)
    granted = ROLES["roles/pubsub.admin"]
    for needs in _NEEDS.values():
        for permission, _ in needs:
            assert permission in granted or f"topics.{permission}" in granted


def test_only_what_is_granted_may_be_done(server: EmulatorServer) -> None:
    owner, worker, stranger = as_user(server, OWNER), as_user(server, WORKER), as_user(server, STRANGER)
    topic = owner.topic()
    name = owner.subscription(topic=topic)
    for denied in (
        lambda: worker.publish("x", topic=topic),
        lambda: worker.pull_now(name),
        lambda: worker.topic("other"),
        lambda: worker.publisher.get_topic(topic=topic),
        lambda: worker.publisher.delete_topic(topic=topic),
    ):
        with pytest.raises((PermissionDenied, grpc.RpcError)) as caught:
            denied()
        assert WORKER in str(caught.value)
    bind(owner, topic, "roles/pubsub.publisher", f"serviceAccount:{WORKER}")
    worker.publish("x", topic=topic)
    with pytest.raises(PermissionDenied):
        stranger.publish("x", topic=topic)
    with pytest.raises(grpc.RpcError):
        worker.pull_now(name)
    bind(owner, name, "roles/pubsub.subscriber", f"domain:{WORKER.partition('@')[2]}")
    assert len(worker.pull_now(name)) == 1
    assert worker.stream(name).goes_on()
    assert stranger.stream(name).code() is grpc.StatusCode.PERMISSION_DENIED
    worker.close()
    bind(owner, name, "roles/pubsub.viewer", "allUsers")
    assert stranger.subscriber.get_subscription(subscription=name).name == name


def test_a_subscription_needs_the_right_to_attach_it(server: EmulatorServer) -> None:
    owner, worker = as_user(server, OWNER), as_user(server, WORKER)
    topic = owner.topic()
    with pytest.raises(PermissionDenied):
        worker.subscription(topic=topic)


def test_the_caller_comes_from_the_token(server: EmulatorServer) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"email": OWNER}).encode()).decode().rstrip("=")
    assert as_user(server, "authorization", f"Bearer e30.{claims}.x").topic()
    request = urllib.request.Request(f"http://{server.address}/v1/projects/p/topics")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(request)
    assert refusal.value.code == 403
    refusal.value.close()
    request.add_header("Authorization", f"Bearer e30.{claims}.x")
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read())["topics"]


def test_permissions_are_tested_for_the_caller(server: EmulatorServer) -> None:
    owner, worker = as_user(server, OWNER), as_user(server, WORKER)
    topic = owner.topic()
    bind(owner, topic, "roles/pubsub.publisher", f"serviceAccount:{WORKER}")
    asked = ["pubsub.topics.publish", "pubsub.topics.delete"]
    request = iam_policy_pb2.TestIamPermissionsRequest(resource=topic, permissions=asked)
    assert list(owner.clients.iam.TestIamPermissions(request).permissions) == asked
    assert list(worker.clients.iam.TestIamPermissions(request).permissions) == asked[:1]


def test_a_dead_letter_stays_until_the_service_agent_may_forward_it(
    server: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    owner = as_user(server, OWNER)
    topic, dead = owner.topic(), owner.topic("dead")
    letters = owner.subscription("letters", topic=dead)
    name = owner.subscription(topic=topic, dead_letter_policy={"dead_letter_topic": dead})
    owner.publish("x", topic=topic)

    def nack(times: int) -> None:
        for _ in range(times):
            owner.nack(name, *owner.pull(name))

    nack(6)
    assert "service agent" in caplog.text
    assert owner.gets_nothing(letters)
    bind(owner, dead, "roles/pubsub.publisher", AGENT)
    nack(1)
    assert owner.gets_nothing(letters)
    bind(owner, name, "roles/pubsub.subscriber", AGENT)
    nack(1)
    assert len(owner.pull(letters)) == 1


@pytest.fixture
def limited() -> Iterator[Callable[..., Project]]:
    running: list[EmulatorServer] = []

    def start(**quotas: float) -> Project:
        server = EmulatorServer(quotas=quotas)
        running.append(server.start())
        project = as_user(server, OWNER)
        project.subscription()
        project.subscription("other")
        return project

    yield start
    for server in running:
        server.stop()


def retry_after_s(error: Any) -> float:
    (info,) = [detail for detail in error.details if isinstance(detail, error_details_pb2.RetryInfo)]
    return float(info.retry_delay.ToTimedelta().total_seconds())


def test_publishing_too_fast_is_refused_with_when_to_try_again(limited: Callable[..., Project]) -> None:
    project = limited(publish=1_000)
    project.publish("x" * 3_000)
    with pytest.raises(ResourceExhausted) as refusal:
        project.publish("x")
    wait_s = retry_after_s(refusal.value)
    assert 1.5 < wait_s < 3
    project.wait(wait_s)
    project.publish("x")


def test_an_ordering_key_has_a_quota_of_its_own(limited: Callable[..., Project]) -> None:
    project = limited(ordering_key=1_000)
    project.publish("x" * 3_000, key="a")
    project.publish("x", key="b")
    with pytest.raises(ResourceExhausted):
        project.publish("x", key="a")


def test_pulling_too_fast_is_refused_for_that_subscription(limited: Callable[..., Project]) -> None:
    project = limited(subscription=1_000)
    name, other = project.name("subscriptions", "subscription"), project.name("subscriptions", "other")
    project.publish("x" * 3_000)
    project.publish("y")
    assert len(project.pull_now(name, 1)) == 1
    with pytest.raises(grpc.RpcError) as refusal:
        project.pull_now(name)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
    assert project.stream(name).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len(project.pull_now(other)) == 2
    project.wait(5)
    assert len(project.pull_now(name)) == 1


def test_a_stream_that_receives_too_fast_ends_and_loses_nothing(limited: Callable[..., Project]) -> None:
    project = limited(subscribe=1_000)
    name = project.name("subscriptions", "subscription")
    stream = project.stream(name)
    for number in range(3):
        project.publish(f"{number}" * 3_000)
        if number == 0:
            stream.gets(1)
    assert stream.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    project.wait(5)
    assert [message.message.data[:1] for message in project.pull(name, at_least=2)] == [b"1", b"2"]


def test_administration_has_a_quota(limited: Callable[..., Project]) -> None:
    project = limited(admin=10)
    made = 0

    def make_many() -> None:
        nonlocal made
        for made in range(30):
            project.topic(f"topic-{made}")

    with pytest.raises(ResourceExhausted):
        make_many()
    assert made > 3
    project.publish("x")


@pytest.mark.parametrize(("text", "rate"), [("publish=4MB", 4e6), ("admin=100", 100), ("subscribe=1.5KB", 1500)])
def test_a_quota_is_read(text: str, rate: float) -> None:
    assert parse_quota(text) == (text.partition("=")[0], rate)


@pytest.mark.parametrize(
    "text", ["publish", "publish=", "publish=0", "publish=-1", "publish=4XB", "other=4MB", "admin=1_0"]
)
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no quota"):
        parse_quota(text)
