"""What a dead letter holds."""

from __future__ import annotations

import json

from poolhouse.client.answers import Document
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.message import RESERVED_FIELDS
from poolhouse.pipeline.tasks.large_values import PAYLOAD_SHA256


def own_payload(letter: Document) -> Document:
    """The payload of the original message. Raises `ConfigError` where it is not there, or the message is no task's."""
    if PAYLOAD_SHA256 in letter.get("attributes", {}):
        raise ConfigError(
            f"the payload of {letter['task_id']} is large, an object of the bucket: replay it as it is, or give a "
            "whole one with --payload"
        )
    try:
        body = json.loads(letter.get("data") or "")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ConfigError(f"the message of {letter['task_id']} is no JSON object: give a whole payload with --payload")
    return {name: value for name, value in body.items() if name not in RESERVED_FIELDS}
