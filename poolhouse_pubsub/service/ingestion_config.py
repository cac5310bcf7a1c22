"""The source of an import topic, checked; its state is output only.

Source: IngestionDataSourceSettings in google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

import re
from typing import Any, Final

from poolhouse_pubsub import limits, protos
from poolhouse_pubsub.service.export_config import EMAIL, check_bucket
from poolhouse_pubsub.status import invalid

_SEVERITIES: Final = frozenset(protos.PlatformLogsSettings.Severity.values())
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/.+")
_SOME: Final = re.compile(r".+", re.DOTALL)

#: The fields of each source that can't be read here: what they look like.
_FIELDS: Final[dict[str, dict[str, re.Pattern[str]]]] = {
    "aws_kinesis": {
        "stream_arn": re.compile(r"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[A-Za-z0-9_.-]+"),
        "consumer_arn": re.compile(r"arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/[^/]+/consumer/.+"),
        "aws_role_arn": _ROLE,
        "gcp_service_account": EMAIL,
    },
    "azure_event_hubs": {
        "resource_group": _SOME,
        "namespace": _SOME,
        "event_hub": _SOME,
        "client_id": _UUID,
        "tenant_id": _UUID,
        "subscription_id": _UUID,
        "gcp_service_account": EMAIL,
    },
    "aws_msk": {
        "cluster_arn": re.compile(r"arn:aws[a-z-]*:kafka:[a-z0-9-]+:[0-9]{12}:cluster/.+"),
        "topic": _SOME,
        "aws_role_arn": _ROLE,
        "gcp_service_account": EMAIL,
    },
    "confluent_cloud": {
        "bootstrap_server": re.compile(r"[^\s/:]+:[0-9]{1,5}"),
        "cluster_id": _SOME,
        "topic": _SOME,
        "identity_pool_id": _SOME,
        "gcp_service_account": EMAIL,
    },
}

#: The state of each of them: no other cloud is in reach here.
_UNREACHABLE: Final = {
    "aws_kinesis": "STREAM_NOT_FOUND",
    "azure_event_hubs": "NAMESPACE_NOT_FOUND",
    "aws_msk": "CLUSTER_NOT_FOUND",
    "confluent_cloud": "UNREACHABLE_BOOTSTRAP_SERVER",
}


def complete_ingestion(settings: Any) -> bool:
    """Check IngestionDataSourceSettings, and set the state of their source and its defaults.

    Returns:
        Whether it can be read, as far as a first check shows.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    severity = settings.platform_logs_settings.severity
    if severity not in _SEVERITIES:
        raise invalid(f"Invalid ingestion_data_source_settings.platform_logs_settings: severity {severity} is unknown.")
    kind = settings.WhichOneof("source")
    if kind is None:
        return True
    source = getattr(settings, kind)
    if kind == "cloud_storage":
        _check_cloud_storage(source)
        source.state = source.State.Value("ACTIVE")
        return True
    for field, pattern in _FIELDS[kind].items():
        value = getattr(source, field)
        if not pattern.fullmatch(value):
            raise invalid(f"Invalid ingestion_data_source_settings.{kind}: {field} {value[:200]!r} is not valid.")
    source.state = source.State.Value(_UNREACHABLE[kind])
    return False


def _check_cloud_storage(source: Any) -> None:
    check_bucket(source.bucket, "ingestion_data_source_settings.cloud_storage.bucket")
    if source.WhichOneof("input_format") is None:
        raise invalid(
            "Invalid ingestion_data_source_settings.cloud_storage: it needs text_format, avro_format or "
            "pubsub_avro_format."
        )
    if source.HasField("text_format") and not source.text_format.HasField("delimiter"):
        source.text_format.delimiter = "\n"
    if source.text_format.HasField("delimiter") and len(source.text_format.delimiter) != 1:
        raise invalid("Invalid ingestion_data_source_settings.cloud_storage: text_format.delimiter is one character.")
    limits.moment_us(source.minimum_object_create_time, "cloud_storage.minimum_object_create_time")
