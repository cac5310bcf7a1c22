"""Progress of a deploy, one line an action, for a terminal and for a log alike."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.plan.planner import Action
from poolhouse.cloud.resource import Resource

_DONE = {"create": "created", "update": "updated", "unchanged": "in place already"}


class Lines:
    """Writes a line when an action is done, and when something is tried again.

    Args:
        total: number of actions.
        out: where to.
    """

    def __init__(self, total: int, *, out: TextIO | None = None) -> None:
        """Nothing is written yet."""
        self._total = total
        self._done = 0
        self._out = out or sys.stdout
        self._lock = threading.Lock()

    def started(self, action: Action) -> None:
        """Only what takes minutes is announced."""
        if action.resource.kind == "image":
            self._write(f"        building {action.resource.name}: a few minutes")

    def finished(self, action: Action, seconds: float) -> None:
        """One line an action."""
        with self._lock:
            self._done += 1
            number = f"[{self._done}/{self._total}]"
        resource = action.resource
        self._write(f"{number:>8} {_DONE[action.verb]} {resource.kind} {resource.name} ({seconds:.1f} s)")

    def retrying(self, resource: Resource, reason: str, wait_s: float) -> None:
        """One line a further attempt, with the last line of the reason."""
        lines = reason.strip().splitlines()
        last = lines[-1][:160] if lines else "no reason given"
        when = f"again in {wait_s:g} s" if wait_s else "reading it again"
        self._write(f"         {resource.kind} {resource.name}: {last}: {when}")

    def left_out(self, resource: Resource, error: CloudError) -> None:
        """One line; the reason follows at the end."""
        with self._lock:
            self._done += 1
            number = f"[{self._done}/{self._total}]"
        self._write(f"{number:>8} not created: {resource.kind} {resource.name} (the deploy goes on without it)")

    def broken_off(self) -> None:
        """How far it came, and what to do."""
        done = f"{self._done} of {self._total} actions are done and stay done"
        self._write(f"\nBroken off: {done}. Run it again: it goes on from there.")

    def _write(self, line: str) -> None:
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()
