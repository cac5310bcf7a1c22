"""How `up --reload` puts saved code in the place of the running one: the new process first, then the old one's end.

A successor waits for each instance with all libraries imported and none of the program's own code: most of a start is
over when a file is saved.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from poolhouse.local.embedded.instance import Instance
from poolhouse.local.embedded.specs import RELOAD_GRACE_S, STOP_MARGIN_S
from poolhouse.local.errors import StackError

#: Time in which new code must get ready, in seconds; after that the old goes on.
READY_TIMEOUT_S = 30.0
_FRAME = re.compile(r'\s+File "(?P<path>[^"]+)", line (?P<line>\d+)')


class Reloads:
    """The successors of a stack's instances, and their predecessors while these end."""

    def __init__(self, make: Callable[[str], Instance], *, say: Callable[[str], None]) -> None:
        """Starts nothing yet.

        Args:
            make: makes another instance of the same name.
            say: takes a line for the supervisor's log.
        """
        self._make = make
        self._say = say
        self._successors: dict[str, Instance] = {}
        #: Started, and not yet known to be taken over by the caller, who may be cancelled in between.
        self._coming: dict[str, Instance] = {}
        self._going: dict[asyncio.Task[None], Instance] = {}
        #: Why the code saved last is not what an instance runs, by the instance's name.
        self.problems: dict[str, str] = {}

    def prepare(self, name: str) -> None:
        """Have a successor wait for an instance; what `replace` returned for it last is the caller's from now on."""
        self._coming.pop(name, None)
        if name not in self._successors:
            self._successors[name] = successor = self._make(name)
            successor.start()

    async def forget(self, name: str) -> None:
        """The instance is no more: end its successor."""
        self.problems.pop(name, None)
        successor = self._successors.pop(name, None)
        if successor is not None:
            await successor.stop(kill=True)

    async def replace(self, old: Instance) -> Instance:
        """Start the code as it is on disk, and let the old instance end its tasks once the new one is ready.

        Returns:
            The instance that serves from now on: the old one where the new code does not start. Either has no successor
            until `prepare`, since the imports of one would hold up those that start beside it.
        """
        self.prepare(old.name)
        new = self._successors.pop(old.name)
        self._coming[old.name] = new
        offset = old.log.stat().st_size
        new.go()
        try:
            await asyncio.wait_for(new.wait_ready(), READY_TIMEOUT_S)
        except (StackError, TimeoutError) as error:
            late = isinstance(error, TimeoutError)
            why = f"not ready after {READY_TIMEOUT_S:g} s" if late else reason(_text(old.log, offset))
            self.problems[old.name] = f"the saved code does not start, the old goes on: {why}"
            self._say(f"{old.name}: {self.problems[old.name]}")
            await new.stop(kill=True)
            return old
        else:
            self.problems.pop(old.name, None)
            self._say(f"{old.name}: the saved code is live; the old ends the tasks that it has in hand")
            ending = asyncio.create_task(old.stop(timeout_s=RELOAD_GRACE_S + STOP_MARGIN_S))
            self._going[ending] = old
            ending.add_done_callback(lambda task: self._going.pop(task, None))
            return new

    async def stop(self) -> None:
        """End all of them: those that are stopping get SIGKILL sooner."""
        waiting = [*self._successors.values(), *self._coming.values()]
        self._successors.clear()
        await asyncio.gather(
            *(instance.stop(kill=True) for instance in waiting),
            *(instance.stop() for instance in self._going.values()),
        )


def reason(text: str) -> str:
    """Why a process died, in one line out of what it wrote: the error, and where a traceback saw it last."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("{")]
    if not lines:
        return "it ended without a word"
    error = lines[-1].strip()
    frames = [frame for frame in map(_FRAME.match, lines) if frame]
    return f"{error} ({frames[-1]['path']}, line {frames[-1]['line']})" if frames else error


def _text(log: Path, offset: int) -> str:
    with log.open("rb") as file:
        file.seek(offset)
        return file.read().decode(errors="replace")
