"""Message transforms: JavaScriptUDF, Compression, AIInference (UDFs overview, SMTs overview, pubsub.proto)."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from tests.kit.conformance.semantics.targets import Project, data, refused
from tests.kit.conformance.semantics.test_iam_and_http import http

pytestmark = pytest.mark.google_deviates("message transforms are ignored")

UPPER = "function upper(message, metadata) { message.data = message.data.toUpperCase(); return message; }"
DROP = "function drop(message, metadata) { return message.data.startsWith('drop') ? null : message; }"
FAIL = "function fail(message, metadata) { if (message.data.startsWith('bad')) throw new Error('no'); return message; }"


def udf(code: str, **more: Any) -> dict[str, Any]:
    name = code.split("(", maxsplit=1)[0].removeprefix("function ").strip()
    return {"javascript_udf": {"function_name": name, "code": code}, **more}


def compression(algorithm: str, mode: str) -> dict[str, Any]:
    return {"compression": {"compression_algorithm": algorithm, "compression_mode": mode}}


@pytest.mark.parametrize("where", ["topic", "subscription"])
def test_a_function_changes_data(project: Project, where: str) -> None:
    transforms = {"message_transforms": [udf(UPPER)]}
    topic = project.topic(**transforms if where == "topic" else {})
    name = project.subscription(topic=topic, **transforms if where == "subscription" else {})
    project.publish("hello", key="k", a="b")
    (message,) = project.pull(name)
    assert (message.message.data, message.message.ordering_key) == (b"HELLO", "k")
    assert dict(message.message.attributes) == {"a": "b"}


@pytest.mark.parametrize(
    ("returned", "attributes"),
    [
        ("{data: message.data, attributes: {x: message.attributes.a + '!'}}", {"x": "b!"}),
        ("{data: message.data, attributes: {}}", {}),
    ],
    ids=["others", "none"],
)
def test_a_function_changes_attributes(project: Project, returned: str, attributes: dict[str, str]) -> None:
    name = project.subscription(message_transforms=[udf(f"function f(message, metadata) {{ return {returned}; }}")])
    project.publish("hello", a="b")
    (message,) = project.pull(name)
    assert dict(message.message.attributes) == attributes


@pytest.mark.parametrize("where", ["topic", "subscription"])
def test_null_filters_a_message_out(project: Project, where: str) -> None:
    transforms = {"message_transforms": [udf(DROP)]}
    topic = project.topic(**transforms if where == "topic" else {})
    name = project.subscription(topic=topic, **transforms if where == "subscription" else {})
    ids = project.publish("one", "drop this", "two", "drop that")
    assert len(set(ids)) == 4
    messages = project.pull(name, at_least=2)
    assert data(messages) == ["one", "two"]
    assert [message.message.message_id for message in messages] == [ids[0], ids[2]]
    project.ack(name, *messages)
    assert project.gets_nothing(name)


def test_a_function_gets_the_messages_metadata(project: Project) -> None:
    code = "function f(message, metadata) { return {data: JSON.stringify(metadata)}; }"
    name = project.subscription(message_transforms=[udf(code)])
    ids = project.publish("x", key="k")
    (message,) = project.pull(name)
    published = message.message.publish_time.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert data([message]) == [f'{{"message_id":"{ids[0]}","publish_time":"{published}","ordering_key":"k"}}']


def test_transforms_are_applied_in_order_and_disabled_ones_are_not(project: Project) -> None:
    more = "function more(message, metadata) { message.data += 'x'; return message; }"
    name = project.subscription(message_transforms=[udf(more), udf(UPPER), udf(DROP, disabled=True)])
    project.publish("drop")
    assert data(project.pull(name)) == ["DROPX"]


def test_one_failure_fails_the_whole_publish(project: Project) -> None:
    name = project.subscription(topic=project.topic(message_transforms=[udf(FAIL)]))
    with refused("INVALID_ARGUMENT"):
        project.publish("good", "bad")
    assert project.gets_nothing(name)
    project.publish("good")
    assert data(project.pull(name)) == ["good"]


def test_a_failure_on_a_subscription_ends_as_a_dead_letter(project: Project) -> None:
    dead = project.topic("dead")
    letters = project.subscription("letters", topic=dead)
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    name = project.subscription(message_transforms=[udf(FAIL)], dead_letter_policy=policy)
    project.publish("bad", "good")
    messages = project.pull(name)
    assert data(messages) == ["good"]
    project.ack(name, *messages)
    for _ in range(5):
        assert project.gets_nothing(name)
        project.wait(60)
    (letter,) = project.pull(letters)
    # What was published, and not what the transform made of it.
    assert data([letter]) == ["bad"]
    assert letter.message.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == "5"


def test_the_schema_is_that_of_the_transformed_message(project: Project) -> None:
    definition = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}]}'
    schema = {"type_": "AVRO", "definition": definition}
    made = project.clients.schemas.create_schema(parent=project.path, schema=schema, schema_id="record")
    number = "function number(message, metadata) { return {data: JSON.stringify({a: Number(message.data)})}; }"
    topic = project.topic(message_transforms=[udf(number)], schema_settings={"schema": made.name, "encoding": "JSON"})
    name = project.subscription(topic=topic)
    project.publish("7")
    assert data(project.pull(name)) == ['{"a":7}']
    with refused("INVALID_ARGUMENT"):
        project.publish("seven")


def test_a_filter_sees_the_message_before_the_transforms(project: Project) -> None:
    code = "function f(message, metadata) { return {data: message.data, attributes: {kind: 'b'}}; }"
    name = project.subscription(filter='attributes.kind = "a"', message_transforms=[udf(code)])
    project.publish("one", kind="a")
    project.publish("two", kind="b")
    (message,) = project.pull(name)
    assert (data([message]), message.message.attributes["kind"]) == (["one"], "b")


def test_order_is_kept_around_filtered_messages(project: Project) -> None:
    name = project.subscription(enable_message_ordering=True, message_transforms=[udf(DROP)])
    project.publish("1", "drop", "2", "drop", "3", key="k")
    messages = project.pull(name, at_least=3)
    assert data(messages) == ["1", "2", "3"]
    project.ack(name, *messages)
    project.publish("4", key="k")
    assert data(project.pull(name)) == ["4"]


def test_a_stream_gets_transformed_messages(project: Project) -> None:
    stream = project.stream(project.subscription(message_transforms=[udf(DROP), udf(UPPER)]))
    project.publish("a", "drop", "b")
    stream.gets(2)
    assert stream.data == ["A", "B"]


@pytest.mark.parametrize("algorithm", ["ZLIB", "ZSTD"])
def test_data_is_compressed_and_decompressed(project: Project, algorithm: str) -> None:
    topic = project.topic(message_transforms=[compression(algorithm, "COMPRESS")])
    small = project.subscription("small", topic=topic)
    whole = project.subscription("whole", topic=topic, message_transforms=[compression(algorithm, "DECOMPRESS")])
    project.publish("hello " * 100, topic=topic)
    (packed,) = project.pull(small)
    assert len(packed.message.data) < 100
    if algorithm == "ZLIB":
        assert zlib.decompress(packed.message.data) == b"hello " * 100
    assert data(project.pull(whole)) == ["hello " * 100]


def test_what_is_not_compressed_fails_to_be_decompressed(project: Project) -> None:
    project.topic(message_transforms=[compression("ZLIB", "DECOMPRESS")])
    with refused("INVALID_ARGUMENT"):
        project.publish("plain")


@pytest.mark.parametrize(
    "transform",
    [
        udf("function f(message) { return message"),
        {"javascript_udf": {"function_name": "other", "code": UPPER}},
        {"javascript_udf": {"function_name": "not a name", "code": UPPER}},
        {"javascript_udf": {"function_name": "upper", "code": ""}},
        udf(UPPER + "//" + "x" * 20_000),
        udf("throw new Error('at once');"),
        udf("while (true) {}"),
        compression("ZLIB", "COMPRESSION_MODE_UNSPECIFIED"),
        compression("COMPRESSION_ALGORITHM_UNSPECIFIED", "COMPRESS"),
        {"ai_inference": {"endpoint": "nonsense", "unstructured_inference": {}}},
        {},
    ],
    ids=[
        "syntax",
        "other-name",
        "no-name",
        "no-code",
        "long",
        "throws",
        "for-ever",
        "mode",
        "algorithm",
        "model",
        "none",
    ],
)
def test_a_bad_transform_is_refused(project: Project, transform: dict[str, Any]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(message_transforms=[transform])
    project.topic("plain")
    with refused("INVALID_ARGUMENT"):
        project.subscription(topic=project.name("topics", "plain"), message_transforms=[transform])


def test_five_transforms_of_different_names_are_the_most(project: Project) -> None:
    five = [udf(f"function f{n}(message, metadata) {{ return message; }}") for n in range(5)]
    with refused("INVALID_ARGUMENT"):
        project.topic(message_transforms=[*five, compression("ZLIB", "COMPRESS")])
    with refused("INVALID_ARGUMENT"):
        project.topic(message_transforms=[udf(UPPER), udf(UPPER)])
    assert project.topic(message_transforms=five)


def test_transforms_can_be_changed(project: Project) -> None:
    name = project.subscription(message_transforms=[udf(UPPER)])
    mask = {"paths": ["message_transforms"]}
    topic = {"name": project.name("topics", "topic"), "message_transforms": [udf(DROP)]}
    project.publisher.update_topic({"topic": topic, "update_mask": mask})
    project.publish("drop", "stay")
    messages = project.pull(name)
    assert data(messages) == ["STAY"]
    project.ack(name, *messages)
    project.subscriber.update_subscription({"subscription": {"name": name}, "update_mask": mask})
    project.publish("as it is")
    assert data(project.pull(name)) == ["as it is"]


def test_a_transform_can_be_validated(project: Project) -> None:
    path = f"/v1/{project.path}:validateMessageTransform"
    good = {"javascriptUdf": {"functionName": "upper", "code": UPPER}}
    assert http(project, "POST", path, {"messageTransform": good}) == (200, {})
    bad = {"javascriptUdf": {"functionName": "lower", "code": UPPER}}
    status, answer = http(project, "POST", path, {"messageTransform": bad})
    assert (status, answer["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_transforms_can_be_tried_on_a_message(project: Project) -> None:
    path = f"/v1/{project.path}:testMessageTransforms"
    message = {"data": "aGVsbG8=", "attributes": {"a": "b"}}
    upper = {"javascriptUdf": {"functionName": "upper", "code": UPPER}}
    drop = {"javascriptUdf": {"functionName": "drop", "code": DROP.replace("drop'", "HELLO'")}}
    pack = {"compression": {"compressionAlgorithm": "ZLIB", "compressionMode": "COMPRESS"}}
    body = {"message": message, "messageTransforms": {"messageTransforms": [upper, drop, pack]}}
    status, answer = http(project, "POST", path, body)
    assert status == 200
    assert answer["transformedMessages"] == [
        {"transformedMessage": {"data": "SEVMTE8=", "attributes": {"a": "b"}}},
        {"filteredMessage": {}},
    ]


@pytest.mark.parametrize("where", ["topic", "subscription"])
def test_the_transforms_of_a_resource_can_be_tried(project: Project, where: str) -> None:
    transforms = {"message_transforms": [udf(UPPER), udf(FAIL.replace("'bad'", "'BAD'")), udf(DROP)]}
    topic = project.topic(**transforms if where == "topic" else {})
    name = project.subscription(topic=topic, **transforms if where == "subscription" else {})
    body = {"message": {"data": "YmFk"}, where: topic if where == "topic" else name}
    status, answer = http(project, "POST", f"/v1/{project.path}:testMessageTransforms", body)
    assert status == 200
    first, second = answer["transformedMessages"]
    assert first == {"transformedMessage": {"data": "QkFE"}}
    assert second["failedMessage"]["error"]["code"] == 3
    assert "no" in second["failedMessage"]["error"]["message"]
    assert project.gets_nothing(name)
