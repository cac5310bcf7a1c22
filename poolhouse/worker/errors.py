"""What a handler raises to say how to go on, and what it may see raised."""

from __future__ import annotations

from poolhouse.pipeline.delays import check_delay_s
from poolhouse.pipeline.errors import PoolhouseError


class Retry(PoolhouseError):
    """Try this task again, not before `after_s` seconds (up to ten years); counts as an attempt.

    Any other error retries too, under the queue's backoff.
    """

    after_s: float | None = None

    def __init__(self, reason: str = "the handler asked for a retry", *, after_s: float | None = None) -> None:
        super().__init__(reason)
        try:
            self.after_s = None if after_s is None else check_delay_s(after_s)
        except ValueError as error:
            raise ValueError(f"after_s {error}") from None


class Reject(PoolhouseError):
    """No retry can help: the task fails for good, and its message goes to the dead letters with `reason`."""

    reason: str = "the handler refused the task"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(PoolhouseError):
    """Base of what `TaskContext.checkpoint` raises; a handler lets it pass, after tidying up."""


class TaskCancelled(Interrupted):
    """A client cancelled the task."""


class WorkerStopping(Interrupted):
    """The worker is told to stop: another one will start the task anew."""


class TaskTimeout(Interrupted):
    """The handler ran longer than its `timeout_s`; counts as a failed attempt."""


class LeaseLost(Interrupted):
    """Another worker has taken the task over: whatever this one makes would be a second result."""
