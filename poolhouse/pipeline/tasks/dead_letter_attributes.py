"""The attributes of a message at a queue's dead-letter topic: why it is there, and how often it was tried.

A worker adds its own to what it gives up; Pub/Sub adds others to what it forwards by itself. What goes back to its
queue carries the counts so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from poolhouse.pipeline import numbers
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.messaging.message import NOT_BEFORE, PUT_OFF, parse_time

#: Attributes that a worker adds to what it sends to the dead-letter topic.
REASON = "dead_letter_reason"
MESSAGE_ID = "dead_letter_message_id"
PUBLISHED_AT = "dead_letter_published_at"
#: Pub/Sub, Quotas and limits: bytes of an attribute's value, and attributes of a message.
_MAX_VALUE_BYTES = 1024
_MAX_ATTRIBUTES = 100
#: Attributes of a message that went back to its queue after Pub/Sub had given it up: the deliveries until then, and
#: the newest attempt there was.
EARLIER_DELIVERIES = "earlier_deliveries"
TRIED = "tried_attempts"
_OWN = (REASON, MESSAGE_ID, PUBLISHED_AT, EARLIER_DELIVERIES, TRIED, "task_id")
_NOT_ORIGINAL = {*_OWN[:-1], NOT_BEFORE, PUT_OFF}
#: Pub/Sub, Handle message failures: set on what Pub/Sub forwards by itself.
_FORWARDED_PREFIX = "CloudPubSubDeadLetterSource"


def attributes_for(
    attributes: Mapping[str, str], *, task_id: str, reason: str, message_id: str, published_at: datetime
) -> dict[str, str]:
    """The attributes under which a worker sends a message to the dead-letter topic: the original ones and why."""
    kept = dict(list(attributes.items())[: _MAX_ATTRIBUTES - len(_OWN)])
    short = clean_text(reason).encode()[:_MAX_VALUE_BYTES].decode(errors="ignore")
    return {
        **kept,
        "task_id": task_id,
        REASON: short,
        MESSAGE_ID: message_id,
        PUBLISHED_AT: published_at.isoformat(),
    }


def original(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes that the message was submitted with."""
    return {
        name: value
        for name, value in attributes.items()
        if name not in _NOT_ORIGINAL and not name.startswith(_FORWARDED_PREFIX)
    }


def reason(attributes: Mapping[str, str]) -> str:
    """Why the message is here: what the worker said, else that Pub/Sub gave it up."""
    count = attributes.get(f"{_FORWARDED_PREFIX}DeliveryCount", "too many")
    return attributes.get(REASON) or f"delivered {count} times and never finished (forwarded by Pub/Sub)"


def published_at(attributes: Mapping[str, str], *, otherwise: datetime) -> datetime:
    """When the message was published to its queue, in UTC where no zone is named."""
    text = attributes.get(PUBLISHED_AT) or attributes.get(f"{_FORWARDED_PREFIX}TopicPublishTime")
    try:
        return parse_time(text) if text else otherwise
    except ValueError:
        return otherwise


def deliveries(attributes: Mapping[str, str]) -> int:
    """How often the queue has delivered the message, earlier returns from the dead-letter topic included."""
    return earlier_deliveries(attributes) + _number(attributes.get(f"{_FORWARDED_PREFIX}DeliveryCount"))


def earlier_deliveries(attributes: Mapping[str, str]) -> int:
    """How often the message was delivered before it went back to its queue; 0 if it never did."""
    return _number(attributes.get(EARLIER_DELIVERIES))


def tried(attributes: Mapping[str, str]) -> int | None:
    """The newest attempt when the message went back to its queue the last time; None if it never did."""
    return _number(attributes.get(TRIED)) if TRIED in attributes else None


def back(attributes: Mapping[str, str], *, task_id: str, tried: int) -> dict[str, str]:
    """The attributes under which a message goes back to its queue: the original ones and the counts so far."""
    kept = {
        name: value for name, value in attributes.items() if name not in _OWN and not name.startswith(_FORWARDED_PREFIX)
    }
    return {**kept, "task_id": task_id, EARLIER_DELIVERIES: str(deliveries(attributes)), TRIED: str(tried)}


def _number(text: str | None) -> int:
    return numbers.digits(text or "", most=9) or 0
