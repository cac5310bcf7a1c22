"""The service's limits and the checks of what requests carry.

Sources: Quotas and limits (https://cloud.google.com/pubsub/quotas#resource_limits), Create and manage labels, and the
comments of google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from poolhouse_pubsub.status import StatusError, invalid

#: Messages of one Publish.
PUBLISH_MESSAGES = 1_000
#: Bytes of one Publish, and of one message's data.
PUBLISH_BYTES = 10_000_000
ATTRIBUTES = 100
ATTRIBUTE_KEY_BYTES = 256
ATTRIBUTE_VALUE_BYTES = 1_024
ORDERING_KEY_BYTES = 1_024
#: Bytes of one Acknowledge or ModifyAckDeadline.
ACK_REQUEST_BYTES = 524_288
#: Revisions of one schema.
SCHEMA_REVISIONS = 20
LABELS = 64
LABEL_CHARS = 63
LABEL_BYTES = 128

ACK_DEADLINE_S = (10, 600)
#: ModifyAckDeadline takes 0 (nack) to 600.
MODIFY_DEADLINE_S = (0, 600)
RETENTION_S = (600.0, 31 * 86_400.0)
BACKOFF_S = (0.0, 600.0)
ATTEMPTS = (5, 100)
EXPIRATION_S = (86_400.0, 365 * 86_400.0)
#: The default time to live of an unused subscription.
EXPIRATION_DEFAULT_S = 31 * 86_400

#: Resources of one project.
TOPICS = 10_000
SUBSCRIPTIONS = 10_000
SNAPSHOTS = 5_000
SCHEMAS = 10_000
#: Resources of one topic.
TOPIC_SUBSCRIPTIONS = 10_000
TOPIC_SNAPSHOTS = 5_000


def seconds(duration: Any, field: str) -> float:
    """Return a protobuf Duration in seconds.

    Raises:
        StatusError: It is not a valid Duration.
    """
    value, nanos = duration.seconds, duration.nanos
    if abs(value) > 315_576_000_000 or abs(nanos) > 999_999_999 or value * nanos < 0:
        raise invalid(f"Invalid {field}: not a valid google.protobuf.Duration (seconds={value}, nanos={nanos}).")
    return float(value + nanos / 1e9)


def moment_us(timestamp: Any, field: str) -> int:
    """Return a protobuf Timestamp in microseconds since the epoch.

    Raises:
        StatusError: It is not a valid Timestamp.
    """
    if not (-62_135_596_800 <= timestamp.seconds <= 253_402_300_799 and 0 <= timestamp.nanos <= 999_999_999):
        raise invalid(f"Invalid {field}: not a valid google.protobuf.Timestamp (years 1 to 9999).")
    return int(timestamp.seconds * 1_000_000 + timestamp.nanos // 1000)


def within(value: float, bounds: tuple[float, float], field: str, unit: str = "s") -> None:
    """Check a number against its bounds.

    Raises:
        StatusError: INVALID_ARGUMENT, with both bounds.
    """
    least, most = bounds
    if not least <= value <= most:
        raise invalid(f"Invalid {field}: {value:g} {unit} is out of bounds; it is {least:g} to {most:g} {unit}.")


def check_labels(labels: Mapping[str, str]) -> None:
    """Check the labels of a resource.

    Raises:
        StatusError: INVALID_ARGUMENT, with the label.
    """
    if len(labels) > LABELS:
        raise invalid(f"Too many labels: {len(labels)}; a resource has at most {LABELS}.")
    for key, value in labels.items():
        if not key or not _is_letter(key[0]) or not _is_label(key):
            raise invalid(
                f"Invalid label key {key[:80]!r}: a lowercase letter, then lowercase letters, digits, _ and -; "
                f"at most {LABEL_CHARS} characters and {LABEL_BYTES} bytes."
            )
        if not _is_label(value):
            raise invalid(
                f"Invalid value {value[:80]!r} of label {key!r}: lowercase letters, digits, _ and -; "
                f"at most {LABEL_CHARS} characters and {LABEL_BYTES} bytes."
            )


def _is_letter(char: str) -> bool:
    # International letters are allowed: those of scripts without case, and lowercase ones.
    return char.isalpha() and char == char.lower()


def _is_label(text: str) -> bool:
    if len(text) > LABEL_CHARS or len(text.encode()) > LABEL_BYTES:
        return False
    return all(_is_letter(char) or char in "0123456789_-" for char in text)


def check_size(size_bytes: int, most: int) -> None:
    """Check the size of a request.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if size_bytes > most:
        raise invalid(f"Request payload size exceeds the limit: {size_bytes} bytes; it is {most} bytes.")


def check_messages(messages: Sequence[Any]) -> None:
    """Check the messages of one Publish, but for their size.

    Raises:
        StatusError: INVALID_ARGUMENT, with the number of the message and the rule.
    """
    if not messages:
        raise invalid("The value for messages is too small. You passed 0 messages; a request has at least 1.")
    if len(messages) > PUBLISH_MESSAGES:
        raise invalid(f"Too many messages to publish: {len(messages)}; a request has at most {PUBLISH_MESSAGES}.")
    key = messages[0].ordering_key
    for number, message in enumerate(messages):
        attributes = message.attributes
        if attributes:
            _check_attributes(attributes, number)
        elif not message.data:
            raise invalid(
                f"Some messages are empty: message {number} has no data and no attributes; it must have one of them."
            )
        if message.ordering_key != key:
            raise invalid(
                "In a single publish request, all messages must have no ordering key or they must all have the same "
                f"ordering key; message {number} differs from message 0."
            )
    if len(key) * 4 > ORDERING_KEY_BYTES and len(key.encode()) > ORDERING_KEY_BYTES:
        raise invalid(f"The ordering key is too long: it has at most {ORDERING_KEY_BYTES} bytes.")


def _check_attributes(attributes: Mapping[str, str], number: int) -> None:
    if len(attributes) > ATTRIBUTES:
        raise invalid(f"Message {number} has {len(attributes)} attributes; a message has at most {ATTRIBUTES}.")
    for key, value in attributes.items():
        if not key:
            raise invalid(f"Message {number} has an attribute with an empty key.")
        # The official clients themselves carry trace context in googclient_ attributes.
        if key.startswith("goog") and not key.startswith("googclient_"):
            raise invalid(f"Message {number}: attribute key {key[:80]!r} starts with goog, which is reserved.")
        if len(key) * 4 > ATTRIBUTE_KEY_BYTES and len(key.encode()) > ATTRIBUTE_KEY_BYTES:
            raise invalid(
                f"Message {number}: attribute key {key[:80]!r}… is too long; it has at most "
                f"{ATTRIBUTE_KEY_BYTES} bytes."
            )
        if len(value) * 4 > ATTRIBUTE_VALUE_BYTES and len(value.encode()) > ATTRIBUTE_VALUE_BYTES:
            raise invalid(
                f"Message {number}: the value of attribute {key[:80]!r} is too long; "
                f"it has at most {ATTRIBUTE_VALUE_BYTES} bytes."
            )


def check_ack_ids(ack_ids: Sequence[str]) -> None:
    """Check the ids of an Acknowledge or ModifyAckDeadline, but for their size.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    if not ack_ids:
        raise invalid("No ack ids specified: ack_ids has at least 1.")


def bad_ack_id(ack_id: str) -> StatusError:
    """Return the refusal of an id that was never given for this subscription."""
    return invalid(f"Invalid ack id (ack_id={ack_id[:200]}): it was not given by this subscription.")
