"""Destinations of export subscriptions and sources of import topics: what is checked, filled in and shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.conformance.semantics.targets import Project, refused

BUCKET = "some-bucket"
EMAIL = "someone@project.iam.gserviceaccount.com"
ROLE = "arn:aws:iam::123456789012:role/reader"
STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
ID = "12345678-1234-1234-1234-123456789012"

KINESIS = {
    "stream_arn": STREAM,
    "consumer_arn": f"{STREAM}/consumer/pubsub:1",
    "aws_role_arn": ROLE,
    "gcp_service_account": EMAIL,
}
EVENT_HUBS = {
    "resource_group": "group",
    "namespace": "space",
    "event_hub": "hub",
    "client_id": ID,
    "tenant_id": ID,
    "subscription_id": ID,
    "gcp_service_account": EMAIL,
}
MSK = {
    "cluster_arn": "arn:aws:kafka:eu-west-1:123456789012:cluster/orders/1",
    "topic": "orders",
    "aws_role_arn": ROLE,
    "gcp_service_account": EMAIL,
}
CONFLUENT = {
    "bootstrap_server": "pkc-1.eu-west-1.aws.confluent.cloud:9092",
    "cluster_id": "lkc-1",
    "topic": "orders",
    "identity_pool_id": "pool-1",
    "gcp_service_account": EMAIL,
}


def storage(**fields: Any) -> dict[str, Any]:
    return {"cloud_storage_config": {"bucket": BUCKET, **fields}}


@pytest.mark.google_deviates("exports are kept unchecked")
@pytest.mark.parametrize(
    "export",
    [
        storage(bucket="gs://some-bucket"),
        storage(bucket=""),
        storage(max_duration={"seconds": 59}),
        storage(max_duration={"seconds": 601}),
        storage(max_bytes=999),
        storage(max_bytes=10 * 1024**3 + 1),
        storage(max_messages=999),
        storage(filename_suffix="a/"),
        storage(filename_datetime_format="%Y"),
        storage(filename_datetime_format="YYYY-YY"),
        storage(service_account_email="nobody"),
        {"bigquery_config": {"table": "orders"}},
        {"bigquery_config": {"table": "p.d.t", "use_topic_schema": True, "use_table_schema": True}},
        {"bigquery_config": {"table": "p.d.t", "drop_unknown_fields": True}},
        {"bigtable_config": {"table": "orders"}},
        {"bigtable_config": {"table": "projects/p/instances/i/tables/t", "column_family_mapping": {}}},
        {
            "bigtable_config": {
                "table": "projects/p/instances/i/tables/t",
                "column_family_mapping": {"delimited_key": {"key_fields": ["a", "b"]}},
            }
        },
    ],
    ids=lambda export: "-".join(str(value) for value in next(iter(export.values())).values())[:40],
)
def test_a_bad_destination_is_refused(project: Project, export: dict[str, Any]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.subscription(**export)


@pytest.mark.google_deviates("no default is filled in")
def test_a_file_is_written_for_five_minutes_by_default(project: Project) -> None:
    found = project.subscriber.get_subscription(subscription=project.subscription(**storage()))
    assert found.cloud_storage_config.max_duration.total_seconds() == 300


@pytest.mark.google_deviates("the state is kept as it was sent, or not returned")
@pytest.mark.parametrize(
    ("field", "config", "state"),
    [
        ("bigquery_config", {"table": "p.d.t"}, "SCHEMA_MISMATCH"),
        ("cloud_storage_config", {"bucket": BUCKET}, "PERMISSION_DENIED"),
        ("bigtable_config", {"table": "projects/p/instances/i/tables/t"}, "SCHEMA_MISMATCH"),
    ],
)
def test_the_state_of_an_export_is_not_the_clients_to_set(
    project: Project, field: str, config: dict[str, Any], state: str
) -> None:
    made = project.subscriber.create_subscription(
        {"name": project.name("subscriptions", "export"), "topic": project.topic(), field: {**config, "state": state}}
    )
    assert getattr(made, field).state.name == "ACTIVE"


@pytest.mark.parametrize(
    "source",
    [
        {"cloud_storage": {"bucket": BUCKET}},
        {"cloud_storage": {"text_format": {}}},
        {"cloud_storage": {"bucket": BUCKET, "text_format": {"delimiter": ""}}},
        {"cloud_storage": {"bucket": BUCKET, "text_format": {"delimiter": "ab"}}},
        {"aws_kinesis": {**KINESIS, "gcp_service_account": ""}},
    ],
    ids=["format", "bucket", "no-delimiter", "delimiter", "account"],
)
def test_an_incomplete_source_is_refused(project: Project, source: dict[str, Any]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(ingestion_data_source_settings=source)


def test_lines_are_separated_by_line_feeds_by_default(project: Project) -> None:
    settings = {"cloud_storage": {"bucket": BUCKET, "text_format": {}}}
    found = project.publisher.get_topic(topic=project.topic(ingestion_data_source_settings=settings))
    assert found.ingestion_data_source_settings.cloud_storage.text_format.delimiter == "\n"


@pytest.mark.google_deviates("names are not checked")
@pytest.mark.parametrize(
    "source",
    [
        {"cloud_storage": {"bucket": "gs://some-bucket", "text_format": {}}},
        {"aws_kinesis": {**KINESIS, "stream_arn": "orders"}},
        {"azure_event_hubs": {**EVENT_HUBS, "tenant_id": "nobody"}},
        {"aws_msk": {**MSK, "aws_role_arn": "reader"}},
        {"confluent_cloud": {**CONFLUENT, "bootstrap_server": "nowhere"}},
    ],
    ids=["prefix", "stream", "tenant", "role", "server"],
)
def test_a_malformed_source_is_refused(project: Project, source: dict[str, Any]) -> None:
    with refused("INVALID_ARGUMENT"):
        project.topic(ingestion_data_source_settings=source)


@pytest.mark.google_deviates("no state is returned")
@pytest.mark.parametrize(
    ("kind", "source", "state"),
    [
        ("aws_kinesis", KINESIS, "STREAM_NOT_FOUND"),
        ("azure_event_hubs", EVENT_HUBS, "NAMESPACE_NOT_FOUND"),
        ("aws_msk", MSK, "CLUSTER_NOT_FOUND"),
        ("confluent_cloud", CONFLUENT, "UNREACHABLE_BOOTSTRAP_SERVER"),
    ],
)
def test_an_unreachable_source_shows_its_state(project: Project, kind: str, source: dict[str, Any], state: str) -> None:
    settings = {kind: {**source, "state": "ACTIVE"}}
    found = project.publisher.get_topic(topic=project.topic(ingestion_data_source_settings=settings))
    assert found.state.name == "INGESTION_RESOURCE_ERROR"
    assert getattr(found.ingestion_data_source_settings, kind).state.name == state
    topic = {"name": found.name}
    mask = {"paths": ["ingestion_data_source_settings"]}
    assert project.publisher.update_topic({"topic": topic, "update_mask": mask}).state.name == "ACTIVE"
