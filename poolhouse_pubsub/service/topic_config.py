"""A Topic resource: checked, and filled with what the service fills in."""

from __future__ import annotations

import re
from typing import Any, Protocol

from poolhouse_pubsub import limits, names, protos
from poolhouse_pubsub.service.ingestion_config import complete_ingestion
from poolhouse_pubsub.service.tags import check_tags
from poolhouse_pubsub.service.transform_config import check_transforms
from poolhouse_pubsub.status import invalid
from poolhouse_pubsub.transforms import Models

#: Fields that UpdateTopic may change.
MUTABLE = frozenset(
    {
        "labels",
        "message_storage_policy",
        "message_retention_duration",
        "schema_settings",
        "kms_key_name",
        "ingestion_data_source_settings",
        "message_transforms",
    }
)

_ACTIVE = protos.Topic.State.Value("ACTIVE")
_INGESTION_ERROR = protos.Topic.State.Value("INGESTION_RESOURCE_ERROR")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


class Schemas(Protocol):
    """What a topic needs of the schema service."""

    def check_settings(self, settings: Any) -> None:
        """Raise a StatusError unless the schema and its revisions exist and the encoding is given."""


def complete(config: Any, *, schemas: Schemas, models: Models, before: Any = None) -> None:
    """Check a Topic and fill in what the service fills in.

    Args:
        config: The Topic, changed in place.
        schemas: The schemas that there are.
        models: What stands in for models of AI inference.
        before: What it was, at an update: a schema that was deleted since does not hinder other changes.

    Raises:
        StatusError: INVALID_ARGUMENT, or NOT_FOUND for a schema that is not there.
    """
    limits.check_labels(config.labels)
    if config.HasField("message_retention_duration"):
        retention_s = limits.seconds(config.message_retention_duration, "message_retention_duration")
        limits.within(retention_s, limits.RETENTION_S, "message_retention_duration")
    if config.kms_key_name and not _KMS_KEY.fullmatch(config.kms_key_name):
        raise invalid(
            f"Invalid kms_key_name {config.kms_key_name[:300]!r}: it is "
            "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY."
        )
    was_deleted = before is not None and before.schema_settings.schema == names.DELETED_SCHEMA
    if config.HasField("schema_settings") and not (was_deleted and config.schema_settings == before.schema_settings):
        schemas.check_settings(config.schema_settings)
    if config.HasField("message_storage_policy"):
        _check_storage_policy(config.message_storage_policy)
    check_transforms(config.message_transforms, models)
    is_readable = complete_ingestion(config.ingestion_data_source_settings) if _has_source(config) else True
    # Output only, whatever a request says; tags are input only.
    check_tags(config.tags)
    config.state = _ACTIVE if is_readable else _INGESTION_ERROR
    config.ClearField("satisfies_pzs")
    config.ClearField("tags")


def _has_source(config: Any) -> bool:
    # A message that is only read must not be made: an empty one would be shown.
    return bool(config.HasField("ingestion_data_source_settings"))


def _check_storage_policy(policy: Any) -> None:
    """Check a MessageStoragePolicy.

    An empty list of regions is no valid configuration (MessageStoragePolicy.allowed_persistence_regions in
    google/pubsub/v1/pubsub.proto): it can't be set, and an update can't remove every region. An update that unsets the
    policy itself is fine: the topic then has none.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if not policy.allowed_persistence_regions:
        raise invalid("Invalid message_storage_policy: allowed_persistence_regions is empty; it has at least 1 region.")
    for region in policy.allowed_persistence_regions:
        if not _REGION.fullmatch(region):
            raise invalid(
                f"Invalid message_storage_policy: {region[:100]!r} is not the name of a region, such as europe-west1."
            )
