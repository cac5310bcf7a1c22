"""How many instances a backlog wants: one formula for Cloud Run (KEDA's Pub/Sub scaler in CREMA) and for a laptop.

The rule is that of the Kubernetes horizontal pod autoscaler with an average-value metric, which KEDA and CREMA use:
backlog divided by the target of one instance, rounded up; within a tolerance nothing changes; going down, the highest
wish of the last while counts, so that a short lull does not stop instances that are needed a moment later.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from poolhouse.pipeline.config.queue import Workers

#: Part by which backlog and capacity may differ before the number changes (horizontal-pod-autoscaler-tolerance).
TOLERANCE = 0.1
#: How long a lower wish must last before it is followed, in seconds; sent to CREMA as its stabilisation window.
SCALE_DOWN_WINDOW_S = 120
#: How often the backlog is looked at, in seconds; sent to CREMA as its polling interval.
POLL_S = 15


def wanted_instances(backlog: int, *, current: int, workers: Workers) -> int:
    """Instances that a backlog asks for, by itself.

    Args:
        backlog: messages of the queue that are not finished: waiting and in flight.
        current: instances there are.
        workers: target, least and most instances.

    Returns:
        `min_instances` to `max_instances`; with no backlog the least, which may be none.
    """
    if backlog < 0 or current < 0:
        raise ValueError(f"backlog ({backlog}) and instances ({current}) can't be negative")
    wish = math.ceil(backlog / workers.target_backlog)
    capacity = workers.target_backlog * current
    if abs(backlog - capacity) <= TOLERANCE * capacity:
        wish = current
    return min(workers.max_instances, max(workers.min_instances, wish))


def counted_backlog(*, unfinished: int, in_flight: int, paused: bool) -> int:
    """Return the backlog to scale a queue for: while it is paused, what runs alone, since nothing else starts.

    Args:
        unfinished: messages of the queue that are not finished.
        in_flight: those of them that workers hold.
        paused: whether the queue is paused.
    """
    return in_flight if paused else unfinished


@dataclass
class Scaler:
    """The wishes of one queue over time; the clock is the caller's."""

    #: Target, least and most instances.
    workers: Workers
    #: How long a lower wish must last before it is followed, in seconds.
    window_s: float = SCALE_DOWN_WINDOW_S
    _wishes: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

    def decide(self, at_s: float, *, backlog: int, current: int) -> int:
        """Instances to have from now on: more at once, fewer when all wishes of the window agree.

        Args:
            at_s: the present time, in seconds of a clock that never goes back.
            backlog: as `wanted_instances` takes it.
            current: as `wanted_instances` takes it.
        """
        if not self._wishes:
            # What was running when we began counts as a wish: a fresh scaler must not stop it at once.
            self._wishes.append((at_s, min(self.workers.max_instances, current)))
        wish = wanted_instances(backlog, current=current, workers=self.workers)
        self._wishes.append((at_s, wish))
        while self._wishes[0][0] < at_s - self.window_s:
            self._wishes.popleft()
        return max(count for _, count in self._wishes) if wish < current else wish
