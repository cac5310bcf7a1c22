"""`[webhooks]` of pipeline.toml."""

from __future__ import annotations

from pydantic import Field, StrictBool

from poolhouse.pipeline.config.base import Table
from poolhouse.pipeline.config.environment import Variable


class Webhooks(Table):
    """Completion webhooks: signed calls of a URL when a task has ended. Without this table there are none."""

    #: Which of `[secrets]` signs them: `whsec_` and 24 to 64 random bytes in base64; two, separated by a space, while
    #: one takes the other's place.
    secret: Variable
    #: Queue of the deliveries; unset: the queue of the task that has ended.
    queue: str | None = None
    #: Receivers on private and loopback addresses, and without TLS: `true` for all, or a list of host names and
    #: addresses. Link-local addresses, such as the metadata server's, by the list alone.
    allow_private: StrictBool | tuple[str, ...] = False
    #: Longest time that a receiver may take, in seconds.
    timeout_s: float = Field(default=15, gt=0, le=60)
    #: Deliveries that are tried before one becomes a dead letter: 12 in about four days.
    max_attempts: int = Field(default=12, ge=1, le=100)

    def lists(self, *names: str) -> bool:
        """Whether the list of `allow_private` has one of the names."""
        return isinstance(self.allow_private, tuple) and any(name in self.allow_private for name in names)
