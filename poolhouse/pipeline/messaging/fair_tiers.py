"""Fairness between tenants: the more tasks of a tenant came lately, the lower the tier of the next one.

A queue with `fair_by` has a fixed number of tiers, each a topic with a subscription of its own. Workers take from a
tier four times for each time that they take from the next lower one. A tenant's first tasks go to the first tier, the
following ones to the second, and so on: a multi-level feedback queue (Corbató et al., 1962) whose feedback is the
number of tasks. So a flood of one tenant fills the lowest tier, and each tier above has no more of it than its limit.

Lanes by a hash of the tenant would leave some tenants in the tier of the flood; these have no collisions. Topics, not
filters on one topic: a subscription's filter can't be changed, and what it leaves out is charged as delivered
(Pub/Sub, Filter messages from a subscription).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Recent tasks up to which a tenant's next one goes to each tier; beyond them there is one tier more.
LIMITS = (10, 100, 1000)
#: Lanes of a queue with `fair_by`.
TIERS = len(LIMITS) + 1
#: Time in which the count of a tenant halves, in seconds.
HALF_LIFE_S = 60.0
#: Tenants that are remembered: the quietest ones are forgotten first.
MOST_TENANTS = 100_000
#: Attributes of a message of such a queue: the tenant, and the tier that it was published to.
TENANT, TIER = "fair_key", "tier"


@dataclass
class _Recent:
    count: float
    at_s: float


class FairTiers:
    """Counts the recent tasks of each tenant of one queue in this process. Thread-safe."""

    def __init__(self, weights: Mapping[str, float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Remember nothing yet.

        Args:
            weights: by tenant, how many tasks count as one; 1 for the others.
            monotonic: the clock, in seconds.
        """
        self._weights = weights
        self._monotonic = monotonic
        self._recent: OrderedDict[str, _Recent] = OrderedDict()
        self._lock = threading.Lock()

    def next(self, tenant: str) -> int:
        """Count a task of a tenant; returns its tier, 0 the first."""
        now_s = self._monotonic()
        with self._lock:
            recent = self._recent.setdefault(tenant, _Recent(0.0, now_s))
            self._recent.move_to_end(tenant)
            if len(self._recent) > MOST_TENANTS:
                self._recent.popitem(last=False)
            recent.count *= 0.5 ** ((now_s - recent.at_s) / HALF_LIFE_S)
            recent.count += 1 / self._weights.get(tenant, 1.0)
            recent.at_s = now_s
            return sum(recent.count > limit for limit in LIMITS)


def tenant_of(value: object) -> str:
    """The tenant that a payload's field names, as an attribute; tasks without one are one tenant together."""
    return "" if value is None else str(value)[:100]
