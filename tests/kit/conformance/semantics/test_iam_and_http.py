"""IAM, health, reflection, and what is served over HTTP (sections 14 and 15)."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from google.iam.v1 import iam_policy_pb2, policy_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.kit.conformance.semantics.targets import Project, refused


def http(project: Project, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://{project.target.address}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, content = error.code, error.read()
    return status, json.loads(content) if content.lstrip().startswith(b"{") else content


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_policy_is_kept_and_given_back(project: Project) -> None:
    topic = project.topic()
    fresh = project.clients.iam.GetIamPolicy(iam_policy_pb2.GetIamPolicyRequest(resource=topic))
    assert not fresh.bindings
    assert (fresh.version, base64.b64encode(fresh.etag)) == (0, b"ACAB")
    policy = policy_pb2.Policy(bindings=[{"role": "roles/viewer", "members": ["user:a@example.com"]}], etag=fresh.etag)
    made = project.clients.iam.SetIamPolicy(iam_policy_pb2.SetIamPolicyRequest(resource=topic, policy=policy))
    assert made.etag != fresh.etag
    found = project.clients.iam.GetIamPolicy(iam_policy_pb2.GetIamPolicyRequest(resource=topic))
    assert found == made
    with refused("ABORTED"):
        project.clients.iam.SetIamPolicy(iam_policy_pb2.SetIamPolicyRequest(resource=topic, policy=policy))


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_permissions_are_granted_on_what_is_there(project: Project) -> None:
    for resource, granted in ((project.topic(), ["pubsub.topics.get"]), (project.name("topics", "absent"), [])):
        request = iam_policy_pb2.TestIamPermissionsRequest(resource=resource, permissions=["pubsub.topics.get"])
        assert list(project.clients.iam.TestIamPermissions(request).permissions) == granted


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_every_kind_of_resource_has_a_policy_and_an_absent_one_has_none(project: Project) -> None:
    name = project.subscription()
    snapshot = project.name("snapshots", "snapshot")
    project.subscriber.create_snapshot(name=snapshot, subscription=name)
    schema = {"type_": "AVRO", "definition": '{"type": "record", "name": "A", "fields": []}'}
    made = project.clients.schemas.create_schema(parent=project.path, schema=schema, schema_id="record")
    for resource in (project.name("topics", "topic"), name, snapshot, made.name):
        assert project.clients.iam.GetIamPolicy(iam_policy_pb2.GetIamPolicyRequest(resource=resource)).etag
    with refused("NOT_FOUND"):
        project.clients.iam.GetIamPolicy(iam_policy_pb2.GetIamPolicyRequest(resource=project.name("topics", "absent")))


@pytest.mark.google_deviates("UNIMPLEMENTED")
def test_a_policy_with_a_condition_has_version_3(project: Project) -> None:
    binding = {"role": "roles/viewer", "members": ["user:a@example.com"], "condition": {"expression": "true"}}
    request = iam_policy_pb2.SetIamPolicyRequest(resource=project.topic(), policy={"bindings": [binding]})
    with refused("INVALID_ARGUMENT"):
        project.clients.iam.SetIamPolicy(request)
    request.policy.version = 3
    assert project.clients.iam.SetIamPolicy(request).version == 3


@pytest.mark.google_deviates("no health service")
def test_the_health_service_says_serving(project: Project) -> None:
    stub = health_pb2_grpc.HealthStub(project.clients.channel)
    for service in ("", "google.pubsub.v1.Publisher"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.google_deviates("no reflection service")
def test_reflection_lists_and_describes_the_services(project: Project) -> None:
    from google.protobuf import descriptor_pb2

    stub = reflection_pb2_grpc.ServerReflectionStub(project.clients.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="google.pubsub.v1.Publisher"),
    ]
    listed, described = stub.ServerReflectionInfo(iter(requests))
    names = {service.name for service in listed.list_services_response.service}
    assert {"google.pubsub.v1.Publisher", "google.pubsub.v1.Subscriber", "google.iam.v1.IAMPolicy"} <= names
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw)
        for raw in described.file_descriptor_response.file_descriptor_proto
    ]
    methods = {method.name for file in files for service in file.service for method in service.method}
    assert {"Publish", "StreamingPull"} <= methods


def test_the_root_answers_ok(project: Project) -> None:
    status, content = http(project, "GET", "/")
    assert status == 200
    assert content.strip() == b"Ok"


def test_rest_publishes_pulls_and_acks(project: Project) -> None:
    path = f"/v1/{project.path}"
    assert http(project, "PUT", f"{path}/topics/topic", {})[0] == 200
    assert http(project, "PUT", f"{path}/subscriptions/rest", {"topic": project.name("topics", "topic")})[0] == 200
    message = {"data": "aGVsbG8=", "attributes": {"a": "b"}}
    status, answer = http(project, "POST", f"{path}/topics/topic:publish", {"messages": [message]})
    assert (status, len(answer["messageIds"])) == (200, 1)
    status, answer = http(project, "POST", f"{path}/subscriptions/rest:pull", {"maxMessages": 1})
    received = answer["receivedMessages"][0]
    assert (received["message"]["data"], received["message"]["attributes"]) == ("aGVsbG8=", {"a": "b"})
    acked = http(project, "POST", f"{path}/subscriptions/rest:acknowledge", {"ackIds": [received["ackId"]]})
    assert acked == (200, {})


def test_rest_errors_have_googles_form(project: Project) -> None:
    status, answer = http(project, "GET", f"/v1/{project.path}/topics/absent")
    assert (status, answer["error"]["code"], answer["error"]["status"]) == (404, 404, "NOT_FOUND")
    assert answer["error"]["message"]


def test_rest_refuses_unknown_fields(project: Project) -> None:
    status, answer = http(project, "PUT", f"/v1/{project.path}/topics/topic", {"nonsense": 1})
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_reset_empties_everything(project: Project) -> None:
    name = project.subscription()
    assert http(project, "POST", "/reset")[0] == 200
    with refused("NOT_FOUND"):
        project.subscriber.get_subscription(subscription=name)
    with refused("NOT_FOUND"):
        project.publisher.get_topic(topic=project.name("topics", "topic"))


@pytest.mark.parametrize("query", ["$.xgafv=2", "$.xgafv=1&alt=json&prettyPrint=false&key=x"])
def test_rest_takes_the_parameters_that_every_api_takes(project: Project, query: str) -> None:
    topic = project.topic()
    assert http(project, "GET", f"/v1/{topic}?{query}")[1]["name"] == topic
