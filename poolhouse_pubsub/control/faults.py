"""Faults on request: what a network and a large service do to a program, at a moment that a test chooses.

Every choice is drawn from one seeded generator, so a run with the same seed and the same calls has the same faults.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from poolhouse_pubsub.core.leases import Entry
from poolhouse_pubsub.core.subscription import Subscription
from poolhouse_pubsub.status import Code, StatusError

Kind = Literal["error", "duplicate", "reorder", "delay", "drop_ack", "lose_publish_answer", "latency", "reset_stream"]

KINDS: tuple[Kind, ...] = (
    "error",
    "duplicate",
    "reorder",
    "delay",
    "drop_ack",
    "lose_publish_answer",
    "latency",
    "reset_stream",
)


@dataclass(slots=True, kw_only=True)
class Fault:
    """One kind of fault."""

    #: `error`: RPCs fail with `code`. `duplicate`: a delivered message comes once more. `reorder`: the messages of a
    #: response change places. `delay`: a message becomes deliverable `seconds` later. `drop_ack`: acks are answered and
    #: forgotten. `lose_publish_answer`: a publish succeeds, its answer is UNAVAILABLE. `latency`: RPCs take `seconds`
    #: (of real time) longer. `reset_stream`: a StreamingPull ends with `code` after it delivered something. Messages of
    #: an ordering key are neither reordered nor delayed, exactly-once subscriptions get no duplicates and learn that
    #: an ack was dropped: the service promises that.
    kind: Kind
    #: Of each occasion, 0 to 1.
    probability: float = 1.0
    #: How many times at most; None for no limit.
    count: int | None = None
    #: RPCs it concerns (`error`, `latency`), such as `Publish`; none for all.
    methods: tuple[str, ...] = ()
    #: Full name of the only subscription it concerns; "" for all, and for RPCs on none.
    subscription: str = ""
    #: Code of an `error` or `reset_stream`.
    code: Code = Code.UNAVAILABLE
    #: Length of a `delay` (emulator time) or `latency`.
    seconds: float = 0.0
    happened: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of a fault is 0 to 1, not {self.probability}")
        if self.count is not None and self.count < 0:
            raise ValueError(f"the count of a fault is 0 or more, not {self.count}")
        if not self.seconds >= 0:
            raise ValueError(f"the seconds of a fault are 0 or more, not {self.seconds}")


class Faults:
    """The faults that are set.

    Args:
        rng: Where all choices are drawn from.
    """

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self._faults: list[Fault] = []
        #: Whether any fault is set: the normal path asks nothing else.
        self.active = False
        #: Called when the set of faults changes.
        self.on_change: Callable[[], None] | None = None

    def add(self, fault: Fault) -> Fault:
        """Set a fault, beside those that are set."""
        self._faults.append(fault)
        self._changed()
        return fault

    def remove(self, fault: Fault) -> None:
        """Take a fault away."""
        self._faults.remove(fault)
        self._changed()

    def clear(self) -> None:
        """Take all faults away."""
        self._faults.clear()
        self._changed()

    def all(self) -> tuple[Fault, ...]:
        """Return the faults that are set, with how often each happened."""
        return tuple(self._faults)

    def _changed(self) -> None:
        self.active = bool(self._faults)
        if self.on_change is not None:
            self.on_change()

    def _strike(self, kinds: Iterable[Kind], *, method: str = "", subscription: str = "") -> Fault | None:
        """Return the first fault of these kinds that happens now."""
        for fault in self._faults:
            if (
                fault.kind in kinds
                and (not fault.methods or not method or method in fault.methods)
                and fault.subscription in ("", subscription)
                and (fault.count is None or fault.happened < fault.count)
                and (fault.probability >= 1 or self._random.random() < fault.probability)
            ):
                fault.happened += 1
                return fault
        return None

    async def before(self, method: str, *, subscription: str) -> None:
        """Apply the faults that hit a call before it is made.

        Args:
            method: Name of the RPC.
            subscription: Full name of the subscription it is about, "" for none.

        Raises:
            StatusError: It fails without any effect.
        """
        slow = self._strike(("latency",), method=method, subscription=subscription)
        if slow is not None:
            await asyncio.sleep(slow.seconds)
        fault = self._strike(("error",), method=method, subscription=subscription)
        if fault is not None:
            raise StatusError(fault.code, f"Injected fault: {method} fails with {fault.code.name}.")

    def drops_acks(self, subscription: str) -> bool:
        """Whether acks that come now are forgotten."""
        return self.active and self._strike(("drop_ack",), subscription=subscription) is not None

    def after(self, method: str) -> None:
        """Apply the faults that hit a call after it took effect.

        Raises:
            StatusError: Its answer is lost.
        """
        if method == "Publish" and self._strike(("lose_publish_answer",), method=method) is not None:
            raise StatusError(Code.UNAVAILABLE, "Injected fault: the messages were published, the answer is lost.")

    def resets(self, subscription: str) -> StatusError | None:
        """Whether a stream ends now, and with what."""
        fault = self._strike(("reset_stream",), subscription=subscription)
        if fault is None:
            return None
        return StatusError(fault.code, f"Injected fault: the stream ends with {fault.code.name}.")

    def shuffle(self, subscription: Subscription, batch: list[Entry], now: float) -> list[Entry]:
        """Delays, duplicates and reorders a batch that is about to be delivered."""
        if not self.active:
            return batch
        name = subscription.name
        kept = []
        for entry in batch:
            if entry.line is None and not entry.copy and entry.failures == 0 and not entry.ack_id:
                late = self._strike(("delay",), subscription=name)
                if late is not None and late.seconds > 0:
                    subscription.put_off(entry, until=now + late.seconds)
                    entry.ack_id = "-"  # delayed once is enough: no lease ever has this id
                    continue
            kept.append(entry)
            if (
                not subscription.rules.exactly_once
                and not entry.copy
                and self._strike(("duplicate",), subscription=name) is not None
            ):
                subscription.add_copy(entry.message)
        free = [place for place, entry in enumerate(kept) if entry.line is None]
        if len(free) > 1 and self._strike(("reorder",), subscription=name) is not None:
            moved = [kept[place] for place in free]
            self._random.shuffle(moved)
            for place, entry in zip(free, moved, strict=True):
                kept[place] = entry
        return kept
