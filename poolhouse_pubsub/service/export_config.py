"""The destination of an export subscription, checked and filled with the service's defaults.

Sources: CloudStorageConfig, BigQueryConfig and BigtableConfig in google/pubsub/v1/pubsub.proto; Create Cloud Storage
subscriptions (file names).
"""

from __future__ import annotations

import re
from typing import Any, Final

from poolhouse_pubsub import limits
from poolhouse_pubsub.status import invalid

#: How long a Cloud Storage file is written to, in seconds.
FILE_DURATION_S: Final = (60.0, 600.0)
FILE_DURATION_DEFAULT_S: Final = 300
#: Size of a Cloud Storage file, in bytes, and its fewest messages; 0 for no limit.
FILE_BYTES: Final = (1_000, 10 * 1024**3)
FILE_MESSAGES: Final = 1_000

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]")
_DATETIME_PARTS: Final = re.compile(r"YYYY|YY|MM|DD|hh|mm|ss|[-_:/TZ]")
_BIGQUERY_TABLE: Final = re.compile(r"[a-zA-Z0-9.:-]+[.:][A-Za-z0-9_]+\.[^./:]+")
_BIGTABLE_TABLE: Final = re.compile(r"projects/[^/]+/instances/[^/]+/tables/[^/]+")
#: A service account.
EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def complete_exports(config: Any) -> None:
    """Check the export of a Subscription and fill in what the service fills in; its state is output only.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    for field, complete in (
        ("cloud_storage_config", _complete_cloud_storage),
        ("bigquery_config", _check_bigquery),
        ("bigtable_config", _check_bigtable),
    ):
        if config.HasField(field):
            export = getattr(config, field)
            complete(export)
            if export.service_account_email and not EMAIL.fullmatch(export.service_account_email):
                raise invalid(f"Invalid {field}: service_account_email is not an e-mail address.")
            export.state = export.State.Value("ACTIVE")


def check_bucket(bucket: str, field: str) -> None:
    """Check the name of a bucket (Cloud Storage, Bucket naming requirements).

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if not _BUCKET.fullmatch(bucket):
        raise invalid(f"Invalid {field}: {bucket[:100]!r} is not the name of a bucket; it has no prefix like gs://.")


def _complete_cloud_storage(config: Any) -> None:
    check_bucket(config.bucket, "cloud_storage_config.bucket")
    if config.filename_suffix.endswith("/"):
        raise invalid("Invalid cloud_storage_config: filename_suffix must not end in '/'.")
    for part in ("filename_prefix", "filename_suffix"):
        if any(char in getattr(config, part) for char in "\r\n"):
            raise invalid(f"Invalid cloud_storage_config: {part} is part of an object's name, without line breaks.")
    _check_datetime_format(config.filename_datetime_format)
    if not config.HasField("max_duration"):
        config.max_duration.seconds = FILE_DURATION_DEFAULT_S
    duration_s = limits.seconds(config.max_duration, "cloud_storage_config.max_duration")
    limits.within(duration_s, FILE_DURATION_S, "cloud_storage_config.max_duration")
    if config.max_bytes:
        limits.within(config.max_bytes, FILE_BYTES, "cloud_storage_config.max_bytes", "bytes")
    if config.max_messages and config.max_messages < FILE_MESSAGES:
        raise invalid(f"Invalid cloud_storage_config: max_messages is at least {FILE_MESSAGES}.")


def _check_datetime_format(pattern: str) -> None:
    if not pattern:
        return
    parts = _DATETIME_PARTS.findall(pattern)
    matchers = [part[0] if part[0] == "Y" else part for part in parts if len(part) > 1]
    if "".join(parts) != pattern or len(set(matchers)) < len(matchers) or pattern.endswith("/") or "//" in pattern:
        raise invalid(
            f"Invalid cloud_storage_config: filename_datetime_format {pattern[:100]!r} has each of YYYY (or YY), MM, "
            "DD, hh, mm and ss at most once, and between them - _ : / T and Z."
        )


def _check_bigquery(config: Any) -> None:
    if not _BIGQUERY_TABLE.fullmatch(config.table):
        raise invalid(f"Invalid bigquery_config: table {config.table[:300]!r} is not PROJECT.DATASET.TABLE.")
    if config.use_topic_schema and config.use_table_schema:
        raise invalid("Invalid bigquery_config: use_topic_schema and use_table_schema exclude each other.")
    if config.drop_unknown_fields and not (config.use_topic_schema or config.use_table_schema):
        raise invalid("Invalid bigquery_config: drop_unknown_fields needs use_topic_schema or use_table_schema.")


def _check_bigtable(config: Any) -> None:
    if not _BIGTABLE_TABLE.fullmatch(config.table):
        raise invalid(
            f"Invalid bigtable_config: table {config.table[:300]!r} is not "
            "projects/PROJECT/instances/INSTANCE/tables/TABLE."
        )
    if not config.HasField("column_family_mapping"):
        return
    key = config.column_family_mapping.WhichOneof("key_definition")
    if key is None:
        raise invalid("Invalid bigtable_config: column_family_mapping needs row_key_schema or delimited_key.")
    if key == "delimited_key":
        delimited = config.column_family_mapping.delimited_key
        if not delimited.key_fields or not all(delimited.key_fields):
            raise invalid("Invalid bigtable_config: delimited_key.key_fields has at least 1 field.")
        if len(delimited.key_fields) > 1 and not 1 <= len(delimited.delimiter) <= 50:
            raise invalid("Invalid bigtable_config: several key_fields need a delimiter of 1 to 50 characters.")
