"""One test of a handler, run once for each point where a worker can die or a call can fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from poolhouse.testing.calls import CrashPoint

#: Failures that are told in full.
TOLD = 20


@dataclass(frozen=True)
class Effects:
    """What a turn came to: the tasks and their ends, and the objects that handlers have written."""

    tasks: tuple[str, ...]
    objects: tuple[tuple[str, bytes], ...]

    def differences(self, other: Effects) -> list[str]:
        """What is otherwise in `other`, a line each."""
        lines = [f"missing: {each}" for each in _without(self.tasks, other.tasks)]
        lines += [f"not in the undisturbed turn: {each}" for each in _without(other.tasks, self.tasks)]
        mine, others = dict(self.objects), dict(other.objects)
        for name in sorted(mine.keys() | others.keys()):
            if mine.get(name) != others.get(name):
                lines.append(f"object {name}: {_short(others.get(name))}, not {_short(mine.get(name))}")
        return lines


@dataclass
class Turn:
    """One run of the loop's body. Entered once."""

    #: Where a worker dies or a call fails; None in the first, undisturbed turn.
    point: CrashPoint | None
    _finish: Callable[[], Effects]
    effects: Effects | None = None
    failure: str | None = None
    _entered: bool = field(default=False, init=False)

    def __enter__(self) -> Turn:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.point is None:
            if error is None:
                self.effects = self._finish()
            return False  # an undisturbed run that fails is an ordinary failure
        if error is None:
            try:
                self.effects = self._finish()
            except AssertionError as unfinished:
                self.failure = str(unfinished)
            return False
        if isinstance(error, Exception):
            self.failure = f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]
            return True
        return False


def turns(
    begin: Callable[[CrashPoint | None], None], finish: Callable[[], Effects], points: Callable[[], list[CrashPoint]]
) -> Iterator[Turn]:
    """Yield the turns; raise `AssertionError` at the end where some came to something else.

    Args:
        begin: empties the pipeline, and arms a point.
        finish: runs what is left, and tells what came of the turn.
        points: those of the turn that has just ended.
    """
    begin(None)
    first = Turn(None, finish)
    yield first
    if not first._entered or first.effects is None:
        raise RuntimeError("write `with turn:` in the loop over crash_points()")
    failures: list[str] = []
    found = points()
    for point in found:
        begin(point)
        turn = Turn(point, finish)
        yield turn
        if turn.effects is not None and not turn.failure:
            turn.failure = "\n    ".join(first.effects.differences(turn.effects)) or None
        if turn.failure:
            failures.append(f"  {point}\n    {turn.failure}")
    more = f"\n  and {len(failures) - TOLD} more" if len(failures) > TOLD else ""
    assert not failures, (
        f"not repeatable: the effects differ at {len(failures)} of {len(found)} crash points, where\n"
        + "\n".join(failures[:TOLD])
        + more
    )


def task_line(task_type: str, payload: Any, status: str, result: Any) -> str:
    """A task and its end, the same in every turn."""
    shown = f"{task_type} {json.dumps(payload, sort_keys=True)} {status}"
    return shown if result is None else f"{shown} {json.dumps(result, sort_keys=True)}"


def _without(these: tuple[str, ...], those: tuple[str, ...]) -> list[str]:
    left = list(those)
    missing = []
    for each in these:
        if each in left:
            left.remove(each)
        else:
            missing.append(each)
    return missing


def _short(data: bytes | None) -> str:
    return "absent" if data is None else repr(data[:80])
