"""The message that a dead-letter topic gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse_pubsub import limits, names
from poolhouse_pubsub.core.message import Message

_PREFIX = "CloudPubSubDeadLetterSource"


def draft(message: Message, *, subscription: str, deliveries: int, reason: str) -> Any:
    """Return a new PubsubMessage with the original's data, attributes and ordering key, and where it came from.

    The attributes are those of Handle message failures; their values were measured on Google's emulator.

    Args:
        message: The original.
        subscription: Full name of the subscription that could not deliver it.
        deliveries: How often it was delivered.
        reason: Why the service itself could not deliver it, "" where a subscriber did not ack it.
    """
    result = message.parse()
    published = result.publish_time.ToJsonString()
    result.attributes[f"{_PREFIX}Subscription"] = names.id_of(subscription)
    result.attributes[f"{_PREFIX}SubscriptionProject"] = names.project_of(subscription)
    result.attributes[f"{_PREFIX}DeliveryCount"] = str(deliveries)
    result.attributes[f"{_PREFIX}TopicPublishTime"] = published
    if reason:
        # Cut to what an attribute may have, in bytes.
        cut = reason.encode()[: limits.ATTRIBUTE_VALUE_BYTES].decode("utf-8", "ignore")
        result.attributes[f"{_PREFIX}DeliveryErrorMessage"] = cut
    return result


def source_of(attributes: Mapping[str, str]) -> str:
    """Return the full name of the subscription that a dead letter is from, "" for a message that is none."""
    project, id = attributes.get(f"{_PREFIX}SubscriptionProject"), attributes.get(f"{_PREFIX}Subscription")
    return f"projects/{project}/subscriptions/{id}" if project and id else ""


def without_source(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes that the original had."""
    return {key: value for key, value in attributes.items() if not key.startswith(_PREFIX)}
