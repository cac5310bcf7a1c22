"""Signatures after Standard Webhooks (standardwebhooks.com), which has libraries for receivers in many languages."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

PREFIX = "whsec_"


def headers(body: bytes, *, event_id: str, now: datetime, secret: str) -> dict[str, str]:
    """Return the headers by which a receiver knows the sender, and an event that it has had already.

    Args:
        body: what is signed.
        event_id: the same for every delivery of an event.
        now: the time; receivers refuse what was signed long ago.
        secret: `whsec_` and a key in base64.

    Raises:
        ValueError: the secret is none.
    """
    timestamp = str(int(now.timestamp()))
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    digest = hmac.digest(key_of(secret), signed, hashlib.sha256)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def key_of(secret: str) -> bytes:
    """Return the key in a secret. Raises `ValueError`, which never shows it."""
    if not secret.startswith(PREFIX):
        raise ValueError(f"the secret does not begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError(f"what follows {PREFIX} in the secret is no base64") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"the secret's key has {len(key)} bytes, not 24 to 64")
    return key
