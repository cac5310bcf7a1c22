"""Topics and subscriptions."""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.resource import Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, imported, resource
from poolhouse.cloud.terraform.hcl import Block, Value


def topic(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A topic."""
    attributes: dict[str, Value] = {
        "name": item.name,
        "kms_key_name": flags.optional("topic-encryption-key") or None,
        "labels": flags.pairs("labels"),
    }
    yield Piece(resource(context.of("topic", item.name), attributes), imported(context.path("topics", item.name)))


def subscription(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A subscription."""
    if (expiry := flags.text("expiration-period")) != "never":
        raise CloudError(f"{item.id}: no Terraform form for an expiration period of {expiry}.")
    attributes: dict[str, Value] = {
        "name": item.name,
        "topic": context.of("topic", flags.text("topic")).id,
        "ack_deadline_seconds": int(flags.text("ack-deadline")),
        "message_retention_duration": flags.text("message-retention-duration"),
        "enable_exactly_once_delivery": flags.switch("enable-exactly-once-delivery"),
        "labels": flags.pairs("labels"),
    }
    retry: dict[str, Value] = {
        "minimum_backoff": flags.text("min-retry-delay"),
        "maximum_backoff": flags.text("max-retry-delay"),
    }
    # No time to live: it never expires.
    blocks = [Block("expiration_policy", (), {"ttl": ""}), Block("retry_policy", (), retry)]
    if dead_letters := flags.optional("dead-letter-topic"):
        policy: dict[str, Value] = {
            "dead_letter_topic": context.of("topic", dead_letters).id,
            "max_delivery_attempts": int(flags.text("max-delivery-attempts")),
        }
        blocks.append(Block("dead_letter_policy", (), policy))
    address = context.of("subscription", item.name)
    yield Piece(resource(address, attributes, *blocks), imported(context.path("subscriptions", item.name)))
