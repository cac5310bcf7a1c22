"""What every limit is to a delivery: a gate that it passes, or waits in front of."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from poolhouse.worker.runtime.delivery import Delivery

_arrivals = itertools.count()


@dataclass(order=True, kw_only=True)
class Parked:
    """A delivery that waits: it holds its lease, but no thread."""

    submitted_at: datetime
    arrival: int = field(default_factory=lambda: next(_arrivals), init=False)
    delivery: Delivery = field(compare=False)
    #: Since when it waits here.
    since: datetime = field(compare=False)
    #: All gates that it has to pass: it waits at each of them until all are open.
    gates: Sequence[Gate] = field(compare=False)
    #: Whether its record says that it waits.
    noted: bool = field(default=False, compare=False)


class Line:
    """The deliveries that wait at a gate, in the order of their submission."""

    def __init__(self) -> None:
        self._parked: list[Parked] = []

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> Iterator[Parked]:
        return iter(tuple(self._parked))

    @property
    def first_submitted_at(self) -> datetime | None:
        """When the first one was submitted; None where none waits."""
        return self._parked[0].submitted_at if self._parked else None

    def add(self, parked: Parked) -> None:
        """Let one more wait."""
        bisect.insort(self._parked, parked)

    def remove(self, parked: Parked) -> None:
        """Let one wait no more."""
        self._parked.remove(parked)


class Gate(Protocol):
    """A limit as one process sees it; called under the lock of `Limits`."""

    line: Line
    #: What it limits, for people.
    title: str

    def open(self) -> bool:
        """Whether one more may pass now."""

    def enter(self) -> None:
        """One passes."""

    def start(self) -> None:
        """The handler of one that passed is about to be called."""

    def leave(self, *, started: bool) -> None:
        """One that passed has ended; one that was not `started` has used no start."""

    def full(self, waiting: int) -> float | None:
        """Seconds after which one more may come again, where too many wait already; None where it may wait here.

        Args:
            waiting: the deliveries that wait at all gates of this process.
        """
