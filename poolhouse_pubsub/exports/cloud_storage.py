"""Cloud Storage subscriptions: each batch becomes one object.

Source: Create Cloud Storage subscriptions, and CloudStorageConfig in google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.core.message import Message
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.exports.sink import BatchLimits, ExportError
from poolhouse_pubsub.object_store import ObjectStore, StoreError

#: How the time stands in a file's name unless `filename_datetime_format` says otherwise.
DEFAULT_DATETIME_FORMAT: Final = "YYYY-MM-DDThh:mm:ssZ"

_MATCHERS: Final = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "hh": "%H", "mm": "%M", "ss": "%S"}
_MATCHER: Final = re.compile("|".join(_MATCHERS))

_METADATA_FIELDS: Final[list[dict[str, Any]]] = [
    {"name": "subscription_name", "type": "string"},
    {"name": "message_id", "type": "string"},
    {"name": "publish_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "attributes", "type": {"type": "map", "values": "string"}},
]


class CloudStorageSink:
    """Writes the messages of one subscription as objects of its bucket.

    Args:
        subscription: The subscription, with a `cloud_storage_config`.
        emulator: Its clock is the one of the names, and its random numbers distinguish files of one second.
        schema_of: The definition that a topic's SchemaSettings name.
    """

    def __init__(self, subscription: Subscription, emulator: Emulator, schema_of: Callable[[Any], str]) -> None:
        config = subscription.config.cloud_storage_config
        self._config = config
        self._subscription = subscription
        self._emulator = emulator
        self._schema_of = schema_of
        self._store = ObjectStore()
        self.limits = BatchLimits(
            seconds=config.max_duration.seconds + config.max_duration.nanos / 1e9,
            messages=config.max_messages,
            size_bytes=config.max_bytes,
        )

    def check(self) -> None:
        """See `Sink`."""
        try:
            self._store.check_bucket(self._config.bucket)
        except StoreError as error:
            raise _export_error(error) from None

    def write(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """See `Sink`."""
        rejected: dict[int, str] = {}
        if self._config.WhichOneof("output_format") == "avro_config":
            content, kind = self._avro(messages, rejected), "application/octet-stream"
        else:
            content, kind = b"".join(message.parse().data + b"\n" for message in messages), "text/plain"
        if len(rejected) == len(messages):
            return rejected
        try:
            self._store.upload(self._config.bucket, self._name(), content, content_type=kind)
        except StoreError as error:
            raise _export_error(error) from None
        return rejected

    def _name(self) -> str:
        config = self._config
        moment = datetime.fromtimestamp(self._emulator.clock.now(), UTC)
        stamp = format_datetime(moment, config.filename_datetime_format or DEFAULT_DATETIME_FORMAT)
        tail = f"{self._emulator.random.getrandbits(32):08x}"
        return f"{config.filename_prefix}{stamp}_{tail}{config.filename_suffix}"

    def _avro(self, messages: Sequence[Message], rejected: dict[int, str]) -> bytes:
        try:
            import fastavro  # noqa: PLC0415 - slow to import, and only where a file is Avro
        except ImportError:
            reason = "Avro files need the package fastavro: pip install 'poolhouse-pubsub[avro]'"
            raise ExportError("NOT_FOUND", reason) from None

        avro = self._config.avro_config
        schema = self._topic_schema() if avro.use_topic_schema else None
        metadata = _METADATA_FIELDS if avro.write_metadata else []
        if schema is not None:
            record = {**schema, "fields": [*metadata, *schema["fields"]]}
        else:
            record = {
                "type": "record",
                "namespace": "com.google.pubsub",
                "name": "PubsubMessage",
                "fields": [*metadata, {"name": "data", "type": "bytes"}],
            }
        rows = []
        for place, message in enumerate(messages):
            try:
                rows.append(self._row(message, schema))
            except (ValueError, TypeError, LookupError, EOFError) as error:
                rejected[place] = f"the message does not fit the topic's schema: {error}"
        out = io.BytesIO()
        fastavro.writer(out, fastavro.parse_schema(record), rows)
        return out.getvalue()

    def _row(self, message: Message, schema: dict[str, Any] | None) -> dict[str, Any]:
        parsed = message.parse()
        row: dict[str, Any] = {"data": parsed.data} if schema is None else _decoded(parsed, schema)
        if self._config.avro_config.write_metadata:
            attributes = dict(parsed.attributes)
            if parsed.ordering_key:
                attributes["ordering_key"] = parsed.ordering_key
            row.update(
                subscription_name=self._subscription.name,
                message_id=parsed.message_id,
                publish_time=datetime.fromtimestamp(message.published_at, UTC),
                attributes=attributes,
            )
        return row

    def _topic_schema(self) -> dict[str, Any] | None:
        """Return the record of the topic's Avro schema; None where the topic has no schema."""
        topic = self._subscription.topic
        if topic is None or not topic.config.HasField("schema_settings"):
            return None
        definition = self._schema_of(topic.config.schema_settings)
        try:
            schema = json.loads(definition)
        except ValueError:
            raise ExportError("SCHEMA_MISMATCH", "the topic's schema is not Avro: it can't be that of a file") from None
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise ExportError("SCHEMA_MISMATCH", "the topic's schema is no record: it can't be that of a file")
        return schema


def _decoded(parsed: Any, schema: dict[str, Any]) -> dict[str, Any]:
    import fastavro  # noqa: PLC0415

    readable = fastavro.parse_schema(schema)
    if parsed.attributes.get("googclient_schemaencoding") == "BINARY":
        row = fastavro.schemaless_reader(io.BytesIO(parsed.data), readable, None)
    else:
        row = next(fastavro.json_reader(io.StringIO(parsed.data.decode()), readable))
    assert isinstance(row, dict)
    return row


def format_datetime(moment: datetime, pattern: str) -> str:
    """Return a moment in the form of `filename_datetime_format`, such as `YYYY-MM-DD/hh_mm_ssZ`."""
    return _MATCHER.sub(lambda found: moment.strftime(_MATCHERS[found[0]]), pattern)


def _export_error(error: StoreError) -> ExportError:
    return ExportError("PERMISSION_DENIED" if error.denied else "NOT_FOUND", str(error))
