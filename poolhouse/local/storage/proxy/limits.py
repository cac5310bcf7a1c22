"""The rates at which Cloud Storage takes changes (Cloud Storage, Quotas and limits); its emulator enforces none.

One write per second of an object's name, be it made, replaced, updated or deleted; one update per second of a bucket's
metadata; one bucket made or deleted per two seconds in a project. What comes earlier is answered 429 and has no effect.
A request that the server refuses, a failed precondition say, is no write and counts for nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from poolhouse.local.storage.proxy.mutations import Mutation

#: Seconds that must lie between two changes of each kind.
INTERVAL_S = {"object": 1.0, "bucket": 1.0, "buckets": 2.0}
#: Names remembered before those are forgotten whose time is over.
_REMEMBERED = 10_000

_MESSAGES = {
    "object": "The object {name} exceeded the rate limit for object mutation operations (create, update, and delete). "
    "Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.",
    "bucket": "The bucket {name} exceeded the rate limit for bucket metadata updates. Please reduce your request rate.",
    "buckets": "The project exceeded the rate limit for creating and deleting buckets.",
}


class WriteLimits:
    """When each name was last changed. Asked from one thread."""

    def __init__(
        self,
        *,
        on_refused: Callable[[Mutation], None] = lambda mutation: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has been changed yet.

        Args:
            on_refused: called with each change that came too early.
            monotonic: measures the time between changes, in seconds.
        """
        self._on_refused = on_refused
        self._monotonic = monotonic
        self._last_s: dict[Mutation, float] = {}

    def admit(self, mutation: Mutation) -> Callable[[], None] | None:
        """Count a change; None where it comes too early.

        Returns:
            What takes the change back, for one that the server refuses.
        """
        now_s = self._monotonic()
        before_s = self._last_s.get(mutation)
        if before_s is not None and now_s - before_s < INTERVAL_S[mutation.kind]:
            self._on_refused(mutation)
            return None
        if len(self._last_s) >= _REMEMBERED:
            self._last_s = {
                other: at_s for other, at_s in self._last_s.items() if now_s - at_s < INTERVAL_S[other.kind]
            }
        self._last_s[mutation] = now_s

        def take_back() -> None:
            if self._last_s.get(mutation) != now_s:
                return
            if before_s is None:
                del self._last_s[mutation]
            else:
                self._last_s[mutation] = before_s

        return take_back


def refusal(mutation: Mutation) -> bytes:
    """The body of the 429, as Cloud Storage writes it (HTTP status and error codes for JSON, `rateLimitExceeded`)."""
    message = _MESSAGES[mutation.kind].format(name=mutation.name)
    reason = {"message": message, "domain": "usageLimits", "reason": "rateLimitExceeded"}
    return json.dumps({"error": {"code": 429, "message": message, "errors": [reason]}}).encode()
