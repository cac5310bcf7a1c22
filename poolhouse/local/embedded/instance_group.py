"""Instances of one service that are alike: `worker-1`, `worker-2` … More are added at the end, and leave from there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count, islice

from poolhouse.local.embedded.instance import Instance


class Crew:
    """Its members, and those let go that still end their tasks. All methods belong to the supervisor's event loop."""

    def __init__(self, stem: str, make: Callable[[str], Instance], *, instances: int) -> None:
        """Starts nothing.

        Args:
            stem: what the members' names begin with, such as `worker-urgent`.
            make: makes an instance of that name.
            instances: how many members to begin with.
        """
        self._stem = stem
        self._make = make
        self._leaving: dict[asyncio.Task[None], str] = {}
        self.members: list[Instance] = []
        self.members = self._new(instances)

    @property
    def ready(self) -> int:
        """How many members are ready."""
        return sum(member.ready for member in self.members)

    def another(self, name: str) -> Instance:
        """One more of the same name, to take a member's place."""
        return self._make(name)

    def put(self, successors: Mapping[str, Instance]) -> None:
        """Put instances in the place of the members of the same names."""
        self.members = [successors.get(member.name, member) for member in self.members]

    def add(self, number: int) -> list[Instance]:
        """Start that many more; returns them, not ready yet."""
        added = self._new(number)
        for member in added:
            member.start()
            member.go()
        self.members += added
        return added

    def let_go(self, number: int) -> tuple[str, ...]:
        """Stop that many, with the grace period of their tasks. Return their names, without waiting."""
        kept = max(0, len(self.members) - number)
        surplus, self.members = self.members[kept:], self.members[:kept]
        for member in surplus:
            ending = asyncio.create_task(member.stop())
            self._leaving[ending] = member.name
            ending.add_done_callback(lambda task: self._leaving.pop(task, None))
        return tuple(member.name for member in surplus)

    async def gone(self) -> None:
        """Wait until all that were let go have ended."""
        await asyncio.gather(*self._leaving)

    def _new(self, number: int) -> list[Instance]:
        # A name is free again once its process has ended: two of them would share a log.
        taken = {*(member.name for member in self.members), *self._leaving.values()}
        names = (f"{self._stem}-{index}" for index in count(1))
        return [self._make(name) for name in islice((name for name in names if name not in taken), number)]
