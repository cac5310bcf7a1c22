"""Drain mode: work until the queues are empty, then end. For Cloud Run jobs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from poolhouse.worker.runtime.worker import Worker

#: Seconds between two looks at whether the queues are empty.
_LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class DrainOptions:
    """When a drain ends."""

    #: Seconds without a message, and with nothing in hand, after which the queues count as empty. A task that waits for
    #: a retry later than that is left for the next drain.
    linger_s: float = 5.0
    #: Longest time to take on new work, in seconds; None: no limit. Keep it below the job's own task timeout.
    budget_s: float | None = None


def drain(worker: Worker, options: DrainOptions) -> None:
    """Run a started worker until its queues are empty or its time is used up, then stop it and wait for that."""
    started_s = time.monotonic()
    reason = "the queues are empty"
    while not worker.wait(_LOOK_S):
        if worker.idle_s >= options.linger_s:
            break
        if options.budget_s is not None and time.monotonic() - started_s >= options.budget_s:
            reason = "the time budget is used up; what is left waits for the next drain"
            break
    else:
        return
    worker.stop(reason)
    while not worker.wait(_LOOK_S):
        pass
