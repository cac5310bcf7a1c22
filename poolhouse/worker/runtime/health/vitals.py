"""What tells whether a worker gets on with its work, and the rule that judges it.

A worker lives while its streams are open, its threads run and its slots move. A handler that runs for hours keeps its
slot, and that is no sign of anything; nor is a service that does not answer: the worker waits for it by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: How long a part may have work without getting on with it, in seconds. A slot is taken within milliseconds, and the
#: heartbeat ticks each second: this leaves room for a machine that is busy.
STALLED_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a worker that gets on with its work, or does not."""

    #: Whether it has something to do that it could do now.
    busy: bool
    #: A figure that changes whenever it has got on.
    moves: float


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """A worker at one moment."""

    #: Subscriptions that nothing is pulled from, though their queues are not paused.
    closed: tuple[str, ...] = ()
    #: Threads that have ended, by name.
    dead: tuple[str, ...] = ()
    #: Tasks whose thread has ended under them.
    lost: int = 0
    #: The other parts, by name.
    parts: Mapping[str, Part] = field(default_factory=dict)


class Judge:
    """Says what is wrong with a worker, from one look to the next. Not thread-safe."""

    def __init__(self, *, stalled_s: float = STALLED_S) -> None:
        """Know nothing yet.

        Args:
            stalled_s: how long a part may have work without getting on with it, in seconds.
        """
        self._stalled_s = stalled_s
        #: By part: its figure, and when it was first seen with work and with this figure.
        self._since: dict[str, tuple[float, float]] = {}

    def problems(self, vitals: Vitals, *, at_s: float) -> tuple[str, ...]:
        """What keeps the worker from its work, in words; empty where nothing does.

        Args:
            vitals: as they are.
            at_s: the present time, in seconds of a clock that never goes back.
        """
        found = [f"nothing is pulled from {subscription}" for subscription in vitals.closed]
        found += [f"the thread {name} has ended" for name in vitals.dead]
        if vitals.lost:
            found.append(f"the threads of {vitals.lost} tasks have ended under them")
        for name, part in vitals.parts.items():
            moves, since_s = self._since.get(name, (part.moves, at_s))
            if not part.busy or moves != part.moves:
                since_s = at_s
            self._since[name] = (part.moves, since_s)
            if at_s - since_s >= self._stalled_s:
                found.append(f"{name} has had work for {at_s - since_s:.0f} s and has not got on with it")
        return tuple(found)
