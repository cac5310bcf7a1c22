"""The HTTP request that carries one message.

Source: https://cloud.google.com/pubsub/docs/push and https://cloud.google.com/pubsub/docs/payload-unwrapping
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format

from poolhouse_pubsub.core.message import Message

USER_AGENT: Final = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"
#: Answers that ack; everything else, a redirect too, is a nack (Push subscriptions).
ACK_STATUSES: Final = frozenset({102, 200, 201, 202, 204})

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Headers that an attribute may not set: they are the request's own.
_OWN_HEADERS: Final = frozenset(
    (
        *("authorization", "connection", "content-length", "host", "te"),
        *("trailer", "transfer-encoding", "upgrade", "user-agent"),
    )
)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Headers (lower-case names) and body of a POST."""

    headers: Mapping[str, str]
    body: bytes


def build(message: Message, *, subscription: str, push: Any, attempt: int, token: str | None = None) -> PushRequest:
    """Put the request together.

    Args:
        message: The message.
        subscription: Full name of the subscription.
        push: Its PushConfig.
        attempt: Number of this delivery, from 1; 0 without a dead-letter policy, which leaves it out.
        token: OIDC token for the Authorization header.
    """
    headers = {"user-agent": USER_AGENT}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    draft = message.parse()
    if push.HasField("no_wrapper"):
        headers["content-type"] = "application/octet-stream"
        if push.no_wrapper.write_metadata:
            headers.update(_metadata(draft, subscription))
        return PushRequest(headers, draft.data)
    headers["content-type"] = "application/json"
    return PushRequest(headers, _envelope(draft, subscription, attempt))


def _envelope(draft: Any, subscription: str, attempt: int) -> bytes:
    fields: dict[str, Any] = json_format.MessageToDict(draft)
    fields["message_id"] = fields["messageId"]
    fields["publish_time"] = fields["publishTime"]
    envelope: dict[str, Any] = {"message": fields, "subscription": subscription}
    if attempt:
        envelope["deliveryAttempt"] = attempt
    return json.dumps(envelope, ensure_ascii=False).encode()


def _metadata(draft: Any, subscription: str) -> dict[str, str]:
    """Attributes and metadata as headers; an attribute that can't be one, or is the request's own, is left out."""
    headers = {
        name.lower(): value.strip()
        for name, value in draft.attributes.items()
        if _TOKEN.fullmatch(name) and name.lower() not in _OWN_HEADERS and not _CONTROL.search(value)
    }
    headers["x-goog-pubsub-message-id"] = draft.message_id
    headers["x-goog-pubsub-publish-time"] = draft.publish_time.ToJsonString()
    headers["x-goog-pubsub-subscription-name"] = subscription
    if draft.ordering_key and not _CONTROL.search(draft.ordering_key):
        headers["x-goog-pubsub-ordering-key"] = draft.ordering_key.strip()
    return headers
