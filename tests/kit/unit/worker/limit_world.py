"""Worker processes that share limits, simulated: the real admission code on virtual time, with clocks that differ,
storage that fails, and processes that die."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from poolhouse.pipeline.errors import PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.limits.shares import LimitState
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.testing.doubles import MemoryStore
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.admission.limits import Later, Limits

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


class AtOnce(Executor):
    """Makes each call where it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@dataclass(eq=False)
class Job:
    """A task, and its delivery."""

    number: int
    key: str
    seconds: float
    submitted_at: datetime
    process: Process | None = None
    began_s: list[float] = field(default_factory=list)
    ended: bool = False


class Storage(MemoryStore):
    """A bucket whose calls fail now and then: before they take effect, after it, or with the effect to come later.

    It deletes whatever the precondition says, as emulators do.
    """

    def __init__(self, world: World, failing: float) -> None:
        super().__init__(now=lambda: EPOCH + timedelta(seconds=world.now_s))
        self._world = world
        self.failing = failing
        self.down = False
        #: Called before each change: what another process does in between.
        self.before_strike: Callable[[], None] = lambda: None
        #: When each object was written.
        self.written_s: dict[str, list[float]] = {}

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        def write() -> int:
            generation = super(Storage, self).put(name, data, if_generation=if_generation)
            self.written_s.setdefault(name, []).append(self._world.now_s)
            return generation

        return self._strike(write)

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        def remove() -> None:
            super(Storage, self).delete(name)
            self.written_s.setdefault(name, []).append(self._world.now_s)

        self._strike(remove)

    def get(self, name: str) -> Any:
        if self.down or self._world.chance.random() < self.failing:
            raise StoreUnavailable("429")
        return super().get(name)

    def _strike(self, effect: Callable[[], Any]) -> Any:
        self.before_strike()
        chance = self._world.chance
        if self.down or chance.random() < self.failing:
            how = "before" if self.down else chance.choice(("before", "after", "later"))
            if how == "after":
                effect()
            elif how == "later":
                self._world.at(chance.uniform(0.1, 20), lambda: self._world.late(effect))
            raise StoreUnavailable("429")
        return effect()


class Process:
    """One worker process: a clock that is wrong by `skew_s`, and the real `Limits`."""

    def __init__(self, world: World, name: str, skew_s: float) -> None:
        self.world = world
        self.skew = timedelta(seconds=skew_s)
        self.dead = False
        self.running: set[Job] = set()
        self.limits = Limits(
            self.begin, store=world.storage, process=name, now=self.now, chance=random.Random(name + str(world.seed))
        )

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.world.now_s) + self.skew

    def deliver(self, job: Job) -> None:
        """A message comes: as `Attempts` does."""
        job.process = self
        task = TaskMessage(
            task_id=str(job.number),
            task_type="limited",
            submitted_at=job.submitted_at,
            queue="default",
            payload={"tenant": job.key},
        )
        answer = self.limits.admit(self.world.handler, task, job)  # type: ignore[arg-type]
        if isinstance(answer, Later):
            self.world.put_off += 1
            self.world.at(answer.after_s, lambda: self.world.deliver(job))
        elif answer == "admitted":
            self.begin(job)

    def begin(self, job: Any) -> None:
        """It has been admitted: its handler is called after its claim."""
        self.running.add(job)
        self.world.at(self.world.chance.uniform(0, 0.05), lambda: self._call(job))

    def _call(self, job: Job) -> None:
        if self.dead:
            return
        self.limits.started(job)  # type: ignore[arg-type]
        job.began_s.append(self.world.now_s)
        self.world.began.append((self.world.now_s, job.key))
        self.world.at(job.seconds, lambda: self.end(job))

    def end(self, job: Job) -> None:
        """Its handler has returned."""
        if self.dead or job.ended:
            return
        job.ended = True
        self.running.discard(job)
        self.limits.leave(job)  # type: ignore[arg-type]

    def holds(self, key: str) -> bool:
        """Whether it has a lease now, by its own clock."""
        return any(
            gate._new.key.get("tenant") in {key, None} and self.now() < gate._until
            for gate in self.limits._shared.values()
        )


class World:
    """All of it, on a clock of its own."""

    def __init__(self, handler: Handler, *, seed: int, processes: int, skew_s: float = 0, failing: float = 0) -> None:
        self.handler = handler
        self.seed = seed
        self.chance = random.Random(seed)
        self.now_s = 0.0
        self.storage = Storage(self, failing)
        self.began: list[tuple[float, str]] = []
        self.put_off = 0
        self.jobs: list[Job] = []
        self.most: dict[str, int] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._names = itertools.count()
        self._skew_s = skew_s
        self.processes = [self.process() for _ in range(processes)]

    def process(self) -> Process:
        return Process(self, f"p{next(self._names)}", self.chance.uniform(-self._skew_s / 2, self._skew_s / 2))

    def at(self, after_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + after_s, next(self._order), event))

    def submit(self, key: str, seconds: float, *, after_s: float = 0) -> Job:
        """A task, delivered to some process a moment later."""
        job = self.job(key, seconds, after_s=after_s)
        self.at(after_s + self.chance.uniform(0, 0.1), lambda: self.deliver(job))
        return job

    def job(self, key: str, seconds: float, *, after_s: float = 0) -> Job:
        """A task that is still to be delivered."""
        job = Job(len(self.jobs), key, seconds, EPOCH + timedelta(seconds=self.now_s + after_s))
        self.jobs.append(job)
        return job

    def holders(self) -> set[str]:
        """The processes that share a limit, as storage has it."""
        return {
            holder
            for name in self.storage.names()
            for holder in LimitState.model_validate_json(MemoryStore.get(self.storage, name)[0]).holders
        }

    def late(self, effect: Callable[[], Any]) -> None:
        """A write takes effect, if its precondition still holds."""
        with contextlib.suppress(PreconditionFailed):
            effect()

    def deliver(self, job: Job) -> None:
        self.chance.choice(self.processes).deliver(job)

    def kill(self) -> None:
        """A process dies; what it held is delivered again, and another takes its place."""
        victim = self.chance.choice(self.processes)
        victim.dead = True
        self.processes[self.processes.index(victim)] = self.process()
        for job in self.jobs:
            if job.process is victim and not job.ended:
                self.at(10, lambda job=job: self.deliver(job))  # type: ignore[misc]

    def stop(self, process: Process) -> None:
        """An orderly end: it gives back what it has, and what waits goes elsewhere."""
        process.dead = True
        self.processes.remove(process)
        for delivery in process.limits.close():
            self.at(0, lambda job=delivery: self.deliver(job))  # type: ignore[misc]
        for give_back in process.limits.give_back():
            give_back()

    def run(self, until: Callable[[], bool] | None = None, *, most_s: float) -> float:
        """Let time pass until something is so, or for so long; returns how long it took, in seconds."""
        begun_s, end_s = self.now_s, self.now_s + most_s
        while until is None or not until():
            next_s = min(self._nexts(), default=end_s)
            if next_s >= end_s:
                self.now_s = end_s
                assert until is None, f"it is not so after {most_s:g} s"
                break
            self.now_s = max(self.now_s, next_s)
            while self._events and self._events[0][0] <= self.now_s:
                heapq.heappop(self._events)[2]()
            for process in self.processes:
                process.limits.act(AtOnce())
                process.limits.look()
            self._count()
        return self.now_s - begun_s

    def all_ended(self) -> bool:
        return all(job.ended for job in self.jobs)

    def _nexts(self) -> Iterator[float]:
        if self._events:
            yield self._events[0][0]
        for process in self.processes:
            at = process.limits.next_act_at()
            if at is not None:
                yield max(self.now_s, (at - process.skew - EPOCH).total_seconds()) + 1e-6

    def _count(self) -> None:
        """Note how many tasks of a key run at once, in processes that hold a lease."""
        for key in {job.key for process in self.processes for job in process.running}:
            count = sum(
                sum(job.key == key for job in process.running) for process in self.processes if process.holds(key)
            )
            self.most[key] = max(self.most.get(key, 0), count)


def most_in_a_span(times_s: list[float], span_s: float) -> int:
    """The most times that lie within a span, its end excluded."""
    times_s = sorted(times_s)
    most = first = 0
    for index, at_s in enumerate(times_s):
        while at_s - times_s[first] >= span_s - 1e-9:
            first += 1
        most = max(most, index - first + 1)
    return most
