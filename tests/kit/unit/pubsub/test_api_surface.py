"""The whole API, field by field: a client version that adds one fails here until it is said what happens to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

from poolhouse_pubsub import protos
from tests.kit.unit.pubsub.api_descriptor import FILE, from_client
from tests.kit.unit.pubsub.world import SUBSCRIPTION, TOPIC, World

TABLE = Path(__file__).with_name("api_surface.txt")
STATUSES = {"implemented", "kept", "checked", "output", "refused", "ignored", "never"}
EMAIL = "someone@project.iam.gserviceaccount.com"
NAME = "projects/core/topics/other"


def surface() -> dict[str, str]:
    """What the table says, by `MESSAGE.FIELD` and `ENUM.VALUE`; by `MESSAGE` for one without fields."""
    found: dict[str, str] = {}
    for line in TABLE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        owner, _, rest = (part.strip() for part in line.partition("|"))
        if not rest:
            found[owner] = "implemented"
        for part in filter(None, (each.strip() for each in rest.split(";"))):
            status, _, names = part.partition(":")
            for name in names.split():
                assert f"{owner}.{name}" not in found, f"{owner}.{name} is listed twice"
                found[f"{owner}.{name}"] = status
    return found


def api() -> set[str]:
    """What the emulator's own descriptor has."""
    found: set[str] = set()
    for file in (protos.Topic.DESCRIPTOR.file, protos.Schema.DESCRIPTOR.file):
        for enum in file.enum_types_by_name.values():
            found |= {f"{enum.name}.{value.name}" for value in enum.values}
        for message in file.message_types_by_name.values():
            found |= set(_message(message, message.name))
    return found


def _message(descriptor: Any, name: str) -> Iterator[str]:
    if not descriptor.fields:
        yield name
    for field in descriptor.fields:
        yield f"{name}.{field.name}"
    for enum in descriptor.enum_types:
        yield from (f"{name}.{enum.name}.{value.name}" for value in enum.values)
    for nested in descriptor.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _message(nested, f"{name}.{nested.name}")


def test_the_descriptor_is_that_of_the_installed_client() -> None:
    kept = descriptor_pb2.FileDescriptorSet.FromString(FILE.read_bytes())
    assert kept == from_client(), "a new client version: run `python -m tests.kit.unit.pubsub.api_descriptor`"


def test_the_table_lists_every_field_and_value() -> None:
    listed, there = surface(), api()
    assert len(there) > 400
    assert sorted(there - set(listed)) == [], "new in the client: say in api_surface.txt what the emulator does with it"
    assert sorted(set(listed) - there) == [], "not in the client any more"
    assert set(listed.values()) <= STATUSES


def forge(message: Any, *, place_of_enum: int = -1, path: str = "") -> list[str]:
    """Sets every field that is output only, in what the message has, to something; returns their paths."""
    forged = []
    name = message.DESCRIPTOR.full_name.removeprefix("google.pubsub.v1.")
    table = surface()
    for field in message.DESCRIPTOR.fields:
        place = f"{path}{field.name}"
        if table.get(f"{name}.{field.name}") == "output":
            if field.message_type is not None:
                getattr(message, field.name).SetInParent()
            else:
                values = {FieldDescriptor.CPPTYPE_BOOL: True, FieldDescriptor.CPPTYPE_STRING: "forged"}
                is_enum = field.enum_type is not None
                setattr(
                    message,
                    field.name,
                    field.enum_type.values[place_of_enum].number if is_enum else values[field.cpp_type],
                )
            forged.append(place)
        elif field.message_type is not None and not field.is_repeated and message.HasField(field.name):
            forged += forge(getattr(message, field.name), place_of_enum=place_of_enum, path=f"{place}.")
    return forged


def value(message: Any, path: str) -> Any:
    for part in path.split("."):
        field = message.DESCRIPTOR.fields_by_name[part]
        if field.message_type is not None and not message.HasField(part):
            return None
        message = getattr(message, part)
    return message


SOURCES = [
    {"cloud_storage": {"bucket": "some-bucket", "avro_format": {}}},
    {
        "confluent_cloud": {
            "bootstrap_server": "h:1",
            "cluster_id": "c",
            "topic": "t",
            "identity_pool_id": "p",
            "gcp_service_account": EMAIL,
        }
    },
]
EXPORTS = [
    {},
    {"cloud_storage_config": {"bucket": "some-bucket", "service_account_email": EMAIL}},
    {"bigquery_config": {"table": "p.d.t", "service_account_email": EMAIL}},
    {"bigtable_config": {"table": "projects/p/instances/i/tables/t", "app_profile_id": "one"}},
]


@pytest.mark.parametrize(("source", "forged"), [(SOURCES[0], -1), (SOURCES[1], 1)], ids=["fine", "unreachable"])
def test_output_fields_of_a_topic_are_ignored(source: dict[str, Any], forged: int) -> None:
    request = protos.Topic(name=NAME, ingestion_data_source_settings=source)
    paths = forge(request, place_of_enum=forged)
    assert "state" in paths
    assert any(path.startswith("ingestion_data_source_settings.") for path in paths)
    sent = {path: value(request, path) for path in paths}
    made = World().service.publisher.create_topic(request)
    assert [path for path in paths if value(made, path) == sent[path]] == []


@pytest.mark.parametrize("export", EXPORTS)
def test_output_fields_of_a_subscription_are_ignored(export: dict[str, Any]) -> None:
    request = protos.Subscription(name="projects/core/subscriptions/other", topic=TOPIC, **export)
    paths = forge(request)
    assert {"state", "detached", "topic_message_retention_duration", "analytics_hub_subscription_info"} <= set(paths)
    assert len(paths) == (5 if export else 4)
    sent = {path: value(request, path) for path in paths}
    made = World().service.subscriber.create_subscription(request)
    assert [path for path in paths if value(made, path) == sent[path]] == []


def test_kept_fields_come_back() -> None:
    world = World()
    topic = protos.Topic(
        name=NAME,
        kms_key_name="projects/p/locations/l/keyRings/r/cryptoKeys/k",
        message_storage_policy={"allowed_persistence_regions": ["europe-west1"], "enforce_in_transit": True},
        ingestion_data_source_settings=SOURCES[1],
    )
    sent = protos.Topic()
    sent.CopyFrom(topic)
    made = world.service.publisher.create_topic(topic)
    assert made.kms_key_name == sent.kms_key_name
    assert made.message_storage_policy == sent.message_storage_policy
    found = made.ingestion_data_source_settings.confluent_cloud
    for field in ("bootstrap_server", "cluster_id", "topic", "identity_pool_id", "gcp_service_account"):
        assert getattr(found, field) == getattr(sent.ingestion_data_source_settings.confluent_cloud, field)
    for export in EXPORTS[1:]:
        ((field, config),) = export.items()
        request = protos.UpdateSubscriptionRequest(
            subscription=protos.Subscription(name=SUBSCRIPTION, **export), update_mask={"paths": [field]}
        )
        changed = getattr(world.service.subscriber.update_subscription(request), field)
        assert {name: getattr(changed, name) for name in config} == config
        request = protos.UpdateSubscriptionRequest(
            subscription=protos.Subscription(name=SUBSCRIPTION), update_mask={"paths": [field]}
        )
        world.service.subscriber.update_subscription(request)
