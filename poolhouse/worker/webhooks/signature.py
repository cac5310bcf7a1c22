"""Signatures of webhooks, after the Standard Webhooks specification: HMAC-SHA256 of id, timestamp and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

#: What a secret begins with.
PREFIX = "whsec_"
#: The specification's range of a secret, in bytes.
SECRET_BYTES = range(24, 65)
#: What a secret looks like.
VALID = f"it must be {PREFIX} and {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} random bytes in base64 (see docs/webhooks.md)"


def secrets_of(text: str) -> list[bytes]:
    """Read one secret, or several separated by blanks: the newest first.

    Raises:
        ValueError: says what is wrong, without the secret.
    """
    found = [_secret(each) for each in text.split()]
    if not found:
        raise ValueError(f"is empty: {VALID}")
    return found


def headers(body: bytes, *, event_id: str, at: datetime, secrets: Sequence[bytes]) -> dict[str, str]:
    """The three headers of a delivery.

    Args:
        body: what is sent, byte for byte.
        event_id: the same for each delivery of one event.
        at: the time of this delivery.
        secrets: each makes a signature, so that a receiver with any of them accepts it.
    """
    timestamp = str(int(at.timestamp()))
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is no secret of Standard Webhooks: {VALID}") from None
    if len(secret) not in SECRET_BYTES:
        raise ValueError(f"has {len(secret)} bytes: {VALID}")
    return secret
