"""Where every call of a pipeline under test passes: to the bucket, to the queues, and the steps of a worker.

Here faults strike, workers die, crash points are counted, and the timeline is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NoReturn, TypeVar

from poolhouse.testing.faults import Fault

#: The steps of a worker's protocol for one delivery, in order.
STEPS = ("pull", "claim", "handler", "result", "record", "follow-ups", "dead-letter", "ack")
#: What may become of a call at a crash point.
How = Literal["the worker dies before", "the worker dies after", "fails:", "takes effect, but its answer is lost:"]
DIES_BEFORE: How = "the worker dies before"
DIES_AFTER: How = "the worker dies after"
FAILS: How = "fails:"
ANSWER_LOST: How = "takes effect, but its answer is lost:"

_T = TypeVar("_T")


class WorkerDied(BaseException):
    """Ends a worker of a test where it stands: no handler, and no code of the kit, is meant to catch it."""


@dataclass(eq=False)
class WorkerLife:
    """One worker, from its start to its death. A dead one makes no call any more, whatever code of it still runs."""

    name: str
    dead: bool = False
    in_handler: bool = False


@dataclass(frozen=True)
class CrashPoint:
    """One call of a worker, and what becomes of it."""

    number: int
    operation: str
    target: str
    how: How

    def __str__(self) -> str:
        return f"{self.how} {self.operation} {self.target}".rstrip()


@dataclass
class Kill:
    """An order to kill the worker at a moment of the protocol."""

    moment: str
    step: str
    happened: bool = False

    def __post_init__(self) -> None:
        if self.moment not in {"before", "after"} or self.step not in STEPS:
            raise ValueError(
                f"a worker dies before or after a step, such as after-result, not at {self.moment}-{self.step} "
                f"(steps: {', '.join(STEPS)})"
            )

    def reached(self, moment: str, step: str) -> bool:
        """Whether it is time: at that moment, or at the first one behind it where the task has no such step."""
        if self.happened:
            return False
        here = (STEPS.index(step), moment == "after")
        wanted = (STEPS.index(self.step), self.moment == "after")
        return here == wanted or (here > wanted and self.step != "dead-letter" and step != "dead-letter")


@dataclass
class Calls:
    """The calls of one pipeline; in a test with crash points, of each of its turns."""

    now: Callable[[], datetime]
    faults: list[Fault] = field(default_factory=list)
    #: Names of functions of the test's own.
    wrapped: set[str] = field(default_factory=set)
    kill: Kill | None = None
    crash: CrashPoint | None = None
    #: The worker that lives now.
    worker: WorkerLife | None = None
    #: What workers have called, in order: operation and target.
    made: list[tuple[str, str]] = field(default_factory=list)
    timeline: list[tuple[datetime, str]] = field(default_factory=list)

    def act(
        self,
        operation: str,
        call: Callable[[], _T],
        *,
        target: str = "",
        by: WorkerLife | None,
        step: str | None = None,
    ) -> _T:
        """Make a call, or let it meet what the test has ordered.

        Args:
            operation: its kind, as faults name it.
            call: makes it.
            target: the object's name or the topic's id.
            by: the worker; None for a call of the API or the test itself, which does not die.
            step: the step of the protocol that it is.

        Raises:
            WorkerDied: its worker is dead, or dies here.
            Exception: what a fault, or the call itself, raises.
        """
        how = self._how(operation, target, by)
        if by is not None and (how == DIES_BEFORE or self._reached("before", step)):
            self.die(by, f"before {operation} {target}")
        fault = next((fault for fault in self.faults if fault.strikes(operation, target)), None)
        if how in {FAILS, ANSWER_LOST}:
            fault = Fault(operation=operation, lose_answer=how == ANSWER_LOST, error=self._error(operation, target))
        if fault is not None:
            lost = " (it takes effect, its answer is lost)" if fault.lose_answer else ""
            self.tell(f"fault: {operation} {target} fails{lost}")
            if not fault.lose_answer:
                raise fault.exception(target)
        value = call()
        if by is not None and (how == DIES_AFTER or self._reached("after", step)):
            self.die(by, f"after {operation} {target}")
        if fault is not None:
            raise fault.exception(target)
        return value

    def die(self, worker: WorkerLife, where: str) -> NoReturn:
        """Kill a worker. Raises `WorkerDied`, always."""
        worker.dead = True
        if self.kill is not None:
            self.kill.happened = True
        self.tell(f"{worker.name} dies {where}".rstrip())
        raise WorkerDied(f"the test killed {worker.name} {where}")

    def tell(self, text: str) -> None:
        """Add a line to the timeline."""
        self.timeline.append((self.now(), text))

    def _how(self, operation: str, target: str, by: WorkerLife | None) -> How | None:
        if by is None:
            return None
        if by.dead:
            raise WorkerDied(f"{by.name} is dead")
        self.made.append((operation, target))
        crash = self.crash
        if crash is None or crash.number != len(self.made) - 1:
            return None
        return crash.how

    def _reached(self, moment: str, step: str | None) -> bool:
        return step is not None and self.kill is not None and self.kill.reached(moment, step)

    def _error(self, operation: str, target: str) -> int | Exception:
        if operation in self.wrapped:
            return ConnectionError(f"{operation}: the test lets the call fail {target}".rstrip())
        return 503


def crash_points(made: list[tuple[str, str]]) -> list[CrashPoint]:
    """Every point at which a run that made these calls may go wrong."""
    kinds: dict[str, tuple[How, ...]] = {
        "queue.pull": (DIES_AFTER,),
        "handler": (DIES_AFTER,),
        "step": (DIES_BEFORE, DIES_AFTER),
        "storage.read": (FAILS,),
        "storage.list": (FAILS,),
        "queue.ack": (DIES_BEFORE,),
    }
    everything: tuple[How, ...] = (DIES_BEFORE, FAILS, ANSWER_LOST, DIES_AFTER)
    return [
        CrashPoint(number, operation, target, how)
        for number, (operation, target) in enumerate(made)
        for how in kinds.get(operation, everything)
    ]
