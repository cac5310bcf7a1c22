"""What decides the delivery of a subscription, as plain numbers."""

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
        """Changes a PubsubMessage in place; False when it is filtered out. Raises a TransformError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential retry backoff, of each message for itself.

    Attributes:
        min_s: Wait after the first failure, in seconds.
        max_s: Longest wait, in seconds.
    """

    min_s: float = DEFAULT_MIN_BACKOFF_S
    max_s: float = DEFAULT_MAX_BACKOFF_S

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after that many failures (1 or more)."""
        return min(self.max_s, self.min_s * 2.0 ** min(failures - 1, 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The delivery rules of one subscription.

    Attributes:
        ack_deadline_s: Length of a lease, in seconds.
        ordered: Messages with an ordering key are delivered in order.
        exactly_once: Ack ids count once, and not after their lease.
        backoff: Retry policy; None for redelivery at once.
        dead_letter_topic: Full name of the topic that takes what failed too often, None for none.
        max_attempts: Deliveries before that.
        retention_s: How long an unacked message is kept (an acked one too with `retain_acked`), in seconds.
        retain_acked: Acked messages stay for a seek.
        expires_after_s: The subscription is deleted when unused for this long, in seconds; None for never.
        filter: Which messages it gets; None for all.
        transforms: What is done to each message when it is delivered; None for nothing.
    """

    ack_deadline_s: float = DEFAULT_ACK_DEADLINE_S
    ordered: bool = False
    exactly_once: bool = False
    backoff: Backoff | None = None
    dead_letter_topic: str | None = None
    max_attempts: int = DEFAULT_ATTEMPTS
    retention_s: float = DEFAULT_RETENTION_S
    retain_acked: bool = False
    expires_after_s: float | None = None
    filter: AttributeFilter | None = None
    transforms: MessageTransforms | None = None
