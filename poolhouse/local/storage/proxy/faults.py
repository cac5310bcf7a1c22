"""Which faults there are, and whom they strike. Pure: the generator is passed in, nothing is sent.

Every choice is drawn from one seeded generator in the order in which requests come, so the same requests in the same
order meet the same faults.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["status", "reset", "slow", "lose_answer", "cut_answer"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(slots=True, kw_only=True)
class Fault:
    """One kind of fault.

    Attributes:
        kind: `status`: the request is answered with `status` and has no effect. `reset`: the connection is reset before
            the request has any effect. `slow`: the request waits `seconds` before it is passed on. `lose_answer`: the
            request takes effect, then the connection is reset instead of an answer. `cut_answer`: the same, after half
            of the answer.
        probability: of each request that it concerns, 0 to 1.
        count: how many times at most; None for no limit.
        methods: HTTP methods it concerns; none for all.
        contains: a part of the request's target (path and query) without which it does not concern it.
        status: the code of a `status`; such as 503 or 429.
        seconds: the length of a `slow`.
        happened: how often it struck.
    """

    kind: Kind
    probability: float = 1.0
    count: int | None = None
    methods: tuple[str, ...] = ()
    contains: str = ""
    status: int = 503
    seconds: float = 0.0
    happened: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of a fault is 0 to 1, not {self.probability}")
        if self.count is not None and self.count < 0:
            raise ValueError(f"the count of a fault is 0 or more, not {self.count}")
        if not 400 <= self.status <= 599:
            raise ValueError(f"the status of a fault is 400 to 599, not {self.status}")
        if not self.seconds >= 0:
            raise ValueError(f"the seconds of a fault are 0 or more, not {self.seconds}")

    def concerns(self, method: str, target: str) -> bool:
        """Whether it may strike this request."""
        return (
            (not self.methods or method in self.methods)
            and self.contains in target
            and (self.count is None or self.happened < self.count)
        )


@dataclass(frozen=True)
class Fate:
    """What happens to one request: it may be slow, and meet one other fault besides."""

    delay_s: float = 0.0
    fault: Fault | None = None


class Faults:
    """The faults that are set. Changed from any thread, asked from one."""

    def __init__(self, rng: random.Random) -> None:
        """Args: rng: where all choices are drawn from."""
        self._random = rng
        self._faults: tuple[Fault, ...] = ()  # replaced, never changed: no lock needed

    def add(self, kind: Kind, **options: Any) -> Fault:
        """Set a fault beside those that are set; the arguments are `Fault`'s. Raises `ValueError`."""
        fault = Fault(kind=kind, **options)
        self._faults = (*self._faults, fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take a fault away; one that is gone already is fine."""
        self._faults = tuple(other for other in self._faults if other is not fault)

    def clear(self) -> None:
        """Take all faults away."""
        self._faults = ()

    def all(self) -> tuple[Fault, ...]:
        """The faults that are set."""
        return self._faults

    def fate(self, method: str, target: str) -> Fate:
        """Draw what happens to a request."""
        delay_s = 0.0
        struck: Fault | None = None
        for fault in self._faults:
            taken = delay_s > 0 if fault.kind == "slow" else struck is not None
            if taken or not fault.concerns(method, target) or self._random.random() >= fault.probability:
                continue
            fault.happened += 1
            if fault.kind == "slow":
                delay_s = fault.seconds
            else:
                struck = fault
        return Fate(delay_s, struck)
