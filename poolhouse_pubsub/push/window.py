"""How many pushes may be under way, and how long to wait after a failure: plain numbers, no clock."""

from __future__ import annotations

from typing import Final

#: Requests that may be under way at first (Google's emulator starts with two as well).
FIRST_SIZE: Final = 2
#: Most requests under way (Quotas and limits: 3,000 outstanding messages of a push subscription).
MAX_SIZE: Final = 3_000
#: Shortest and longest wait after a failure, in seconds (Push subscriptions, push backoff).
MIN_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 60.0


class Window:
    """Slow start and backoff of one push subscription.

    Each success lets one more request go out at a time, so that the window doubles with each round of answers; a
    failure halves it. Requests that were under way together fail together: only the first failure of such a round
    counts.
    """

    def __init__(self) -> None:
        #: Most requests under way now.
        self.size = FIRST_SIZE
        #: Rounds that failed since the last success.
        self.failures = 0
        #: Number of the present round; a request remembers the one it was sent in.
        self.round = 0

    def succeeded(self) -> None:
        """Note that the endpoint accepted a message."""
        self.size = min(self.size + 1, MAX_SIZE)
        self.failures = 0

    def failed(self, round: int) -> float:
        """Note that the endpoint refused a message.

        Args:
            round: `round` when the request was sent.

        Returns:
            How long nothing is to be sent, in seconds: the backoff of a subscription without a retry policy. 0 where
            the failure of another request of the same round has said so already.
        """
        if round != self.round:
            return 0.0
        self.round += 1
        self.failures += 1
        self.size = max(1, self.size // 2)
        return min(MAX_PAUSE_S, MIN_PAUSE_S * 2.0 ** min(self.failures - 1, 60))
