"""What decides the delivery of a subscription, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

#: Defaults of the service: DeadLetterPolicy, RetryPolicy and Subscription in google/pubsub/v1/pubsub.proto.
DEFAULT_ACK_DEADLINE_S = 10
DEFAULT_RETENTION_S = 7 * 86_400
DEFAULT_ATTEMPTS = 5
DEFAULT_MIN_BACKOFF_S = 10.0
DEFAULT_MAX_BACKOFF_S = 600.0


class AttributeFilter(Protocol):
    """What `poolhouse_pubsub.core.filters.Filter` does for a subscription."""

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Whether a message with these attributes is to be delivered."""
        ...


class MessageTransforms(Protocol):
    """What `poolhouse_pubsub.transforms.Chain` does for a subscription."""

    def apply(self, message: Any, *, published: bool) -> bool:
        """Change a PubsubMessage in place; False when it is filtered out. Raises a TransformError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential retry backoff, of each message for itself."""

    #: Wait after the first failure, in seconds.
    min_s: float = DEFAULT_MIN_BACKOFF_S
    #: Longest wait, in seconds.
    max_s: float = DEFAULT_MAX_BACKOFF_S

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after that many failures (1 or more)."""
        return min(self.max_s, self.min_s * 2.0 ** min(failures - 1, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The delivery rules of one subscription."""

    #: Length of a lease, in seconds.
    ack_deadline_s: float = DEFAULT_ACK_DEADLINE_S
    #: Messages with an ordering key are delivered in order.
    ordered: bool = False
    #: Ack ids count once, and not after their lease.
    exactly_once: bool = False
    #: Retry policy; None for redelivery at once.
    backoff: Backoff | None = None
    #: Full name of the topic that takes what failed too often, None for none.
    dead_letter_topic: str | None = None
    #: Deliveries before that.
    max_attempts: int = DEFAULT_ATTEMPTS
    #: How long an unacked message is kept (an acked one too with `retain_acked`), in seconds.
    retention_s: float = DEFAULT_RETENTION_S
    #: Acked messages stay for a seek.
    retain_acked: bool = False
    #: The subscription is deleted when unused for this long, in seconds; None for never.
    expires_after_s: float | None = None
    #: Which messages it gets; None for all.
    filter: AttributeFilter | None = None
    #: What is done to each message when it is delivered; None for nothing.
    transforms: MessageTransforms | None = None
