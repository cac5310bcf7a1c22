"""Topics and publishing (section 3)."""

from __future__ import annotations

import grpc
import pytest
from google.pubsub_v1.types import PubsubMessage, Topic

from tests.kit.conformance.semantics.targets import Project, data, refused


def test_a_topic_is_created_once(project: Project) -> None:
    project.topic()
    with refused("ALREADY_EXISTS"):
        project.topic()


@pytest.mark.google_deviates("the state is not returned")
def test_a_topic_is_active(project: Project) -> None:
    assert project.publisher.get_topic(topic=project.topic()).state == Topic.State.ACTIVE


@pytest.mark.parametrize("seconds", [599, 31 * 86_400 + 1])
def test_a_retention_out_of_bounds_is_refused(project: Project, seconds: int) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(message_retention_duration={"seconds": seconds})


@pytest.mark.google_deviates("any KMS key is taken")
def test_a_kms_key_must_look_like_one(project: Project) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(kms_key_name="nonsense")


@pytest.mark.google_deviates("labels: not a known Topic field")
def test_labels_of_a_topic_can_be_updated(project: Project) -> None:
    name = project.topic(labels={"a": "1"})
    changed = project.publisher.update_topic(
        {"topic": {"name": name, "labels": {"b": "2"}}, "update_mask": {"paths": ["labels"]}}
    )
    assert dict(changed.labels) == {"b": "2"}


RETENTION = {"paths": ["message_retention_duration"]}


def test_the_retention_of_a_topic_can_be_set(project: Project) -> None:
    topic = {"name": project.topic(), "message_retention_duration": {"seconds": 600}}
    changed = project.publisher.update_topic({"topic": topic, "update_mask": RETENTION})
    assert changed.message_retention_duration.total_seconds() == 600


@pytest.mark.google_deviates("becomes 31 days")
def test_the_retention_of_a_topic_can_be_cleared(project: Project) -> None:
    name = project.topic(message_retention_duration={"seconds": 600})
    project.publisher.update_topic({"topic": {"name": name}, "update_mask": RETENTION})
    assert not project.publisher.get_topic(topic=name).message_retention_duration


@pytest.mark.google_deviates("any storage policy is taken")
@pytest.mark.parametrize("regions", [[], ["nowhere"], ["europe-west1", ""]], ids=["none", "unknown", "empty"])
def test_a_storage_policy_needs_names_of_regions(project: Project, regions: list[str]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(message_storage_policy={"allowed_persistence_regions": regions})


@pytest.mark.parametrize("path", ["message_storage_policy", "message_storage_policy.allowed_persistence_regions"])
def test_an_update_can_not_remove_every_region_of_a_storage_policy(project: Project, path: str) -> None:
    policy = {"allowed_persistence_regions": ["europe-west1"], "enforce_in_transit": True}
    name = project.topic(message_storage_policy=policy)
    # Set, but empty: an update that unsets the policy itself is another one.
    empty = {"name": name, "message_storage_policy": {"enforce_in_transit": True}}
    with refused("INVALID_ARGUMENT"):
        project.publisher.update_topic({"topic": empty, "update_mask": {"paths": [path]}})
    kept = project.publisher.get_topic(topic=name).message_storage_policy
    assert list(kept.allowed_persistence_regions) == ["europe-west1"]
    assert kept.enforce_in_transit


@pytest.mark.google_deviates("message_storage_policy: not a known Topic field")
def test_the_storage_policy_of_a_topic_can_be_updated(project: Project) -> None:
    topic = {"name": project.topic(), "message_storage_policy": {"allowed_persistence_regions": ["europe-west1"]}}
    changed = project.publisher.update_topic({"topic": topic, "update_mask": {"paths": ["message_storage_policy"]}})
    assert list(changed.message_storage_policy.allowed_persistence_regions) == ["europe-west1"]


KMS_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(
            "kms_key_name", KMS_KEY, marks=pytest.mark.google_deviates("kms_key_name: not a known Topic field")
        ),
        (
            "ingestion_data_source_settings",
            {"cloud_storage": {"bucket": "some-bucket", "text_format": {"delimiter": "\n"}}},
        ),
        ("message_transforms", [{"javascript_udf": {"function_name": "f", "code": "function f(m) { return m; }"}}]),
    ],
)
def test_other_fields_of_a_topic_can_be_updated(project: Project, path: str, value: object) -> None:
    name = project.topic()
    project.publisher.update_topic({"topic": {"name": name, path: value}, "update_mask": {"paths": [path]}})
    found = project.publisher.get_topic(topic=name)
    if path == "ingestion_data_source_settings":
        found.ingestion_data_source_settings.cloud_storage.state = 0  # output only: whether the bucket is there
    assert getattr(found, path) == getattr(Topic(**{path: value}), path)


def test_one_field_of_the_schema_settings_can_be_updated(project: Project) -> None:
    schema = {"type_": "AVRO", "definition": '{"type": "record", "name": "A", "fields": []}'}
    made = project.clients.schemas.create_schema(parent=project.path, schema=schema, schema_id="record")
    name = project.topic(schema_settings={"schema": made.name, "encoding": "JSON"})
    changed = project.publisher.update_topic(
        {
            "topic": {"name": name, "schema_settings": {"encoding": "BINARY"}},
            "update_mask": {"paths": ["schema_settings.encoding"]},
        }
    )
    assert (changed.schema_settings.schema, changed.schema_settings.encoding.name) == (made.name, "BINARY")


def test_a_deleted_topic_is_gone_and_its_subscriptions_live_on_with_their_backlog(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    topic = project.name("topics", "topic")
    project.publisher.delete_topic(topic=topic)
    with refused("NOT_FOUND"):
        project.publisher.get_topic(topic=topic)
    assert project.subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"
    assert data(project.pull(name)) == ["a"]


def test_a_new_topic_of_the_same_name_does_not_take_the_subscriptions_back(project: Project) -> None:
    name = project.subscription()
    project.publisher.delete_topic(topic=project.name("topics", "topic"))
    project.topic()
    project.publish("a")
    assert project.gets_nothing(name)


def test_publishing_to_an_absent_topic_is_not_found(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.publish("a")


def test_message_ids_are_decimal_and_unique(project: Project) -> None:
    project.topic()
    ids = [*project.publish("a", "b"), *project.publish("c")]
    assert len(set(ids)) == 3
    assert all(id.isdecimal() for id in ids)


def test_a_message_arrives_with_its_data_attributes_key_id_and_time(project: Project) -> None:
    name = project.subscription()
    (id,) = project.publish(b"\x00\xff data", key="key", colour="blue", empty="")
    (received,) = project.pull(name)
    message = received.message
    assert (message.data, dict(message.attributes)) == (b"\x00\xff data", {"colour": "blue", "empty": ""})
    assert (message.ordering_key, message.message_id) == ("key", id)
    assert message.publish_time.timestamp() > 1_600_000_000


def test_id_and_time_of_a_request_are_ignored(project: Project) -> None:
    name = project.subscription()
    project.topic("other")
    message = PubsubMessage(data=b"x", message_id="mine", publish_time={"seconds": 1})
    (id,) = project.publish_messages([message])
    (received,) = project.pull(name)
    assert received.message.message_id == id != "mine"
    assert received.message.publish_time.timestamp() > 1_600_000_000


def test_a_request_without_messages_is_refused(project: Project) -> None:
    project.topic()
    with refused("INVALID_ARGUMENT"):
        project.publish_messages([])


def test_more_than_1000_messages_are_refused(project: Project) -> None:
    project.topic()
    assert len(project.publish(*["x"] * 1000)) == 1000
    with refused("INVALID_ARGUMENT"):
        project.publish(*["x"] * 1001)


@pytest.mark.parametrize("message", [{}, {"ordering_key": "k"}], ids=["nothing", "key-only"])
def test_a_message_without_data_and_attributes_is_refused(project: Project, message: dict[str, str]) -> None:
    project.topic()
    with refused("INVALID_ARGUMENT"):
        project.publish_messages([PubsubMessage(**message)])


def test_attributes_alone_make_a_message(project: Project) -> None:
    name = project.subscription()
    project.publish_messages([PubsubMessage(attributes={"a": "b"})])
    assert dict(project.pull(name)[0].message.attributes) == {"a": "b"}


@pytest.mark.google_deviates("no limit of attributes")
@pytest.mark.parametrize(
    "attributes",
    [
        {f"a{number}": "x" for number in range(101)},
        {"k" * 257: "x"},
        {"k": "v" * 1025},
        {"": "x"},
        {"goog-mine": "x"},
    ],
    ids=["101", "long-key", "long-value", "empty-key", "goog"],
)
def test_attributes_over_a_limit_are_refused(project: Project, attributes: dict[str, str]) -> None:
    project.topic()
    with refused("INVALID_ARGUMENT"):
        project.publish_messages([PubsubMessage(data=b"x", attributes=attributes)])


def test_attributes_at_the_limits_are_taken(project: Project) -> None:
    project.topic()
    attributes = {f"a{number}": "x" for number in range(98)} | {"k" * 256: "v" * 1024, "é" * 128: "é" * 512}
    project.publish_messages([PubsubMessage(data=b"x", attributes=attributes)])


@pytest.mark.google_deviates("no limit of the ordering key")
def test_an_ordering_key_of_1025_bytes_is_refused(project: Project) -> None:
    project.topic()
    project.publish("x", key="k" * 1024)
    with refused("INVALID_ARGUMENT"):
        project.publish("x", key="k" * 1025)


@pytest.mark.google_deviates("10 MiB are taken")
def test_a_request_over_10_mb_is_refused(project: Project) -> None:
    project.topic()
    project.publish(b"x" * 9_900_000)
    with refused("INVALID_ARGUMENT"):
        project.publish(b"x" * 10_000_001)


@pytest.mark.google_deviates("mixed ordering keys are taken")
@pytest.mark.parametrize("keys", [("a", "b"), ("a", "")], ids=["two-keys", "key-and-none"])
def test_mixed_ordering_keys_in_one_request_are_refused(project: Project, keys: tuple[str, str]) -> None:
    project.topic()
    with refused("INVALID_ARGUMENT"):
        project.publish_messages([PubsubMessage(data=b"x", ordering_key=key) for key in keys])


def test_a_refused_request_publishes_nothing_at_all(project: Project) -> None:
    name = project.subscription()
    with refused("INVALID_ARGUMENT"):
        project.publish_messages([PubsubMessage(data=b"good"), PubsubMessage()])
    assert project.gets_nothing(name)


@pytest.mark.google_deviates("DetachSubscription is UNIMPLEMENTED")
def test_a_detached_subscription_loses_its_backlog_and_refuses_pulls(project: Project) -> None:
    name = project.subscription()
    project.publish("a")
    project.publisher.detach_subscription({"subscription": name})
    assert project.subscriber.get_subscription(subscription=name).detached
    assert list(project.publisher.list_topic_subscriptions(topic=project.name("topics", "topic"))) == []
    assert [each.name for each in project.subscriber.list_subscriptions(project=project.path)] == [name]
    with refused("FAILED_PRECONDITION"):
        project.pull_now(name)


@pytest.mark.google_deviates("DetachSubscription is UNIMPLEMENTED")
def test_a_detached_subscription_ends_its_streams_and_takes_no_new_one(project: Project) -> None:
    name = project.subscription()
    stream = project.stream(name)
    project.publish("a")
    stream.gets(1)
    project.publisher.detach_subscription({"subscription": name})
    assert stream.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert project.stream(name).code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.google_deviates("DetachSubscription is UNIMPLEMENTED")
def test_detaching_an_absent_subscription_is_not_found(project: Project) -> None:
    with refused("NOT_FOUND"):
        project.publisher.detach_subscription({"subscription": project.name("subscriptions", "absent")})
