"""Buckets, and what they notify of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from poolhouse.cloud.kinds import notifications as kind
from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, imported, label, resource
from poolhouse.cloud.terraform.hcl import Block, Expression, Value
from poolhouse.pipeline.messaging.object_events import FINALIZED


def bucket(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A bucket."""
    flags.text("location")
    # Said twice where it is none: as no duration, and as nothing to keep.
    flags.ignore("clear-soft-delete")
    attributes: dict[str, Value] = {
        "name": item.name,
        "location": item.wanted["location"],
        "uniform_bucket_level_access": flags.switch("uniform-bucket-level-access"),
        "public_access_prevention": "enforced" if flags.switch("public-access-prevention") else "inherited",
        "labels": flags.pairs("update-labels"),
    }
    blocks = [
        Block("soft_delete_policy", (), {"retention_duration_seconds": flags.seconds("soft-delete-duration")}),
        Block("versioning", (), {"enabled": False}),
    ]
    if key := flags.optional("default-encryption-key"):
        blocks.append(Block("encryption", (), {"default_kms_key_name": key}))
    for rule in flags.json("lifecycle-file")["rule"]:
        condition: dict[str, Value] = {
            "age": rule["condition"]["age"],
            "matches_prefix": rule["condition"].get("matchesPrefix"),
        }
        action = Block("action", (), {"type": rule["action"]["type"]})
        blocks.append(Block("lifecycle_rule", (), {}, (action, Block("condition", (), condition))))
    if item.wanted["cors_origins"]:
        for rule in flags.json("cors-file"):
            attributes_of_rule: dict[str, Value] = {
                "origin": rule["origin"],
                "method": rule["method"],
                "response_header": rule["responseHeader"],
                "max_age_seconds": rule["maxAgeSeconds"],
            }
            blocks.append(Block("cors", (), attributes_of_rule))
    address = context.of("bucket", item.name)
    yield Piece(resource(address, attributes, *blocks), imported(f"{context.options.project}/{item.name}"))


def notifications(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """What the bucket tells a queue's topic of: one block for each prefix and queue."""
    flags.ignore("topic", "object-prefix", "event-types", "payload-format", "skip-topic-setup")
    wanted = item.wanted["objects"]
    assert isinstance(wanted, tuple)
    for notified in wanted:
        prefix, _, topic = notified.rpartition(" to ")
        queue = context.of("topic", topic)
        attributes: dict[str, Value] = {
            "bucket": context.of("bucket", item.name).name,
            "topic": queue.id,
            "event_types": [FINALIZED],
            "object_name_prefix": prefix,
            "payload_format": "NONE",
        }

        def made(raw: Json, notified: str = notified) -> Mapping[str, str]:
            found = kind.configured(raw, context.options).get(notified, "")
            return {"": found.removeprefix("projects/_/buckets/")} if found else {}

        name = f"{queue.text.rpartition('.')[2]}_{label(prefix)}"
        yield Piece(resource(Expression(f"google_storage_notification.{name}"), attributes), made)
