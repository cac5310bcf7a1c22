"""Admission of attempts: a delivery passes all limits of its type and key, or waits at one of them.

What waits is parked: it holds its lease, but no thread. Where too many wait already it comes again later.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from poolhouse.pipeline.limits.limit_store import LimitStore, object_name
from poolhouse.pipeline.limits.shares import Kind, LimitState, Rule
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ObjectStore
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.admission.gate import Gate, Parked
from poolhouse.worker.runtime.admission.process_gate import ProcessGate
from poolhouse.worker.runtime.admission.shared_gate import SharedGate
from poolhouse.worker.runtime.delivery import Delivery


@dataclass(frozen=True)
class Later:
    """Too many wait already: the delivery is to come again after some seconds."""

    after_s: float
    #: What it waits for, for people.
    limit: str


#: Time that a delivery waits before its record says so: most get their turn earlier, and cost no write.
NOTED_AFTER = timedelta(seconds=10)
Admission = Literal["admitted", "parked"] | Later


@dataclass
class _Inside:
    """An attempt that was admitted."""

    #: Kept, so that no other delivery can have its identity.
    delivery: Delivery
    gates: tuple[Gate, ...]
    started: bool = False


class Limits:
    """The gates of all limits in use. Thread-safe."""

    def __init__(
        self,
        resume: Callable[[Delivery], None],
        *,
        store: ObjectStore,
        process: str,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        """Start without gates: one is made with its first delivery.

        Args:
            resume: called with a parked delivery when it has been admitted.
            store: the bucket, for limits that all workers share.
            process: the name of this process, unlike any other's.
            now: the clock that workers share.
            monotonic: the clock of limits within this process, in seconds.
            chance: keeps processes that collided from doing so again.
        """
        self._resume = resume
        self._store = LimitStore(store)
        self._process = process
        self._now = now
        self._monotonic = monotonic
        #: Called when the next `act` may be due earlier than it was.
        self.changed: Callable[[], None] = lambda: None
        self._chance = chance or random.Random()
        self._own: dict[str, ProcessGate] = {}
        self._shared: dict[str, SharedGate] = {}
        self._inside: dict[int, _Inside] = {}
        #: What is next for each shared gate, as far as nothing has happened since; None: nothing.
        self._next: dict[str, datetime | None] = {}
        self._parked = 0
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()
        self._closed = False

    def admit(self, handler: Handler, task: TaskMessage, delivery: Delivery) -> Admission:
        """Whether an attempt may start now; if not, the delivery is parked, or must come again later.

        Each admission wants a `leave`.
        """
        if not handler.limited:
            return "admitted"
        keys = tuple(_keys(handler, task))  # outside the lock: a model's validators may take their time
        with self._lock:
            gates = self._gates(handler, keys)
            self._forget_next(gates)
            if all(gate.open() and not gate.line for gate in gates):
                self._enter(delivery, gates)
                return "admitted"
            full = [(again_s, gate.title) for gate in gates if (again_s := gate.full(self._parked)) is not None]
            if full and not self._closed:
                return Later(*max(full))
            parked = Parked(submitted_at=task.submitted_at, delivery=delivery, gates=gates, since=self._now())
            for gate in gates:
                gate.line.add(parked)
            self._parked += 1
        self.look(gates)
        self.changed()
        return "parked"

    def started(self, delivery: Delivery) -> None:
        """Note that the handler of an admitted delivery is about to be called."""
        with self._lock:
            inside = self._inside.get(id(delivery))
            if inside is not None and not inside.started:
                inside.started = True
                for gate in inside.gates:
                    gate.start()

    def leave(self, delivery: Delivery) -> None:
        """Note that an admitted delivery has ended; one whose handler was not called has used no start."""
        with self._lock:
            inside = self._inside.pop(id(delivery), None)
            if inside is None:
                return
            for gate in inside.gates:
                gate.leave(started=inside.started)
            self._forget_next(inside.gates)
        self.look(inside.gates)
        if any(isinstance(gate, SharedGate) for gate in inside.gates):
            self.changed()

    @property
    def waiting(self) -> bool:
        """Whether a delivery is parked."""
        with self._lock:
            return self._parked > 0

    def look(self, gates: Iterable[Gate] | None = None) -> None:
        """Resume what has room by now.

        Args:
            gates: where there may be room; by default everywhere.
        """
        admitted: list[Delivery] = []
        with self._lock:
            for gate in () if self._closed else self._all() if gates is None else gates:
                for parked in gate.line:
                    if not gate.open():
                        break
                    if all(other.open() for other in parked.gates):
                        self._unpark(parked)
                        self._enter(parked.delivery, parked.gates)
                        admitted.append(parked.delivery)
            self._arm()
        for delivery in admitted:
            self._resume(delivery)

    def act(self, calls: Executor) -> None:
        """Read and write the objects of shared limits where that is due, and resume what has room then."""
        with self._lock:
            now = self._now()
            due = [gate for name, gate in self._shared.items() if (at := self._next_of(name)) is not None and at <= now]
        for gate in due:
            calls.submit(self._act, gate)

    def long_waiting(self) -> list[tuple[Delivery, str]]:
        """The deliveries that have waited at shared limits for some time, and for what; each is told once."""
        with self._lock:
            before = self._now() - NOTED_AFTER
            found: list[tuple[Delivery, str]] = []
            for gate in self._shared.values():
                for parked in gate.line:
                    if not parked.noted and parked.since <= before:
                        parked.noted = True
                        closed = next((other for other in parked.gates if not other.open()), gate)
                        found.append((parked.delivery, closed.title))
            return found

    def next_act_at(self, *, waits_for_rate: bool = True) -> datetime | None:
        """When the next `act` or `look` is due; None where nothing is.

        Args:
            waits_for_rate: whether to heed limits at which nothing waits, or nothing but the span of a rate is waited
                for.
        """
        with self._lock:
            now = self._now()
            found: list[datetime] = []
            for name, gate in self._shared.items():
                if waits_for_rate:
                    found += [at for at in (self._next_of(name), gate.next_room_at(now)) if at is not None]
                elif gate.line and not gate.waits_for_rate:
                    found += [at for at in (self._next_of(name),) if at is not None]
            return min(found, default=None)

    @property
    def next_start_s(self) -> float | None:
        """When a rate of this process allows a parked delivery to start, on the monotonic clock; None if none waits."""
        with self._lock:
            waits = [gate.wait_s for gate in self._own.values() if gate.line]
            return self._monotonic() + min(waits) if waits else None

    def take(self, queue: str) -> list[Delivery]:
        """Take back what is parked of a queue."""
        with self._lock:
            return self._take(lambda delivery: delivery.queue == queue)

    def close(self) -> list[Delivery]:
        """Admit nothing more; returns what is parked."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            return self._take(lambda delivery: True)

    def give_back(self) -> list[Callable[[], None]]:
        """Calls that give back all that shared limits have here, at the end of the process."""
        with self._lock:
            return [gate.give_back for gate in self._shared.values()]

    def _act(self, gate: SharedGate) -> None:
        acted = gate.act()
        if acted:
            self.look((gate,))
        with self._lock:
            self._forget_next((gate,))
            if gate.unused and self._shared.get(gate.name) is gate:
                del self._shared[gate.name]
        if acted:
            self.changed()

    def _next_of(self, name: str) -> datetime | None:
        if name not in self._next:
            step = self._shared[name].plan()
            self._next[name] = step.at if step is not None else None
        return self._next[name]

    def _forget_next(self, gates: Iterable[Gate]) -> None:
        for gate in gates:
            if isinstance(gate, SharedGate):
                self._next.pop(gate.name, None)

    def _all(self) -> tuple[Gate, ...]:
        return (*self._own.values(), *self._shared.values())

    def _take(self, wanted: Callable[[Delivery], bool]) -> list[Delivery]:
        every = sorted({id(parked): parked for gate in self._all() for parked in gate.line}.values())
        taken = [parked for parked in every if wanted(parked.delivery)]
        for parked in taken:
            self._unpark(parked)
        return [parked.delivery for parked in taken]

    def _unpark(self, parked: Parked) -> None:
        for gate in parked.gates:
            gate.line.remove(parked)
        self._parked -= 1
        self._forget_next(parked.gates)

    def _enter(self, delivery: Delivery, gates: Sequence[Gate]) -> None:
        inside = self._inside[id(delivery)] = _Inside(delivery, tuple(gates))
        for gate in inside.gates:
            gate.enter()

    def _arm(self) -> None:
        """Look again when a rate of this process allows the next start; `leave` reports a free place."""
        timer = self._timer
        if timer is not None and timer.is_alive() and timer is not threading.current_thread():
            return
        next_s = self.next_start_s
        wait_s = 0.0 if next_s is None else next_s - self._monotonic()
        if wait_s <= 0 or self._closed:
            return
        self._timer = threading.Timer(wait_s, self.look)
        self._timer.daemon = True
        self._timer.start()

    def _gates(self, handler: Handler, keys: tuple[LimitState, ...]) -> tuple[Gate, ...]:
        gates: list[Gate] = []
        if handler.max_concurrency_per_process is not None or handler.rate_per_process is not None:
            own = self._own.get(handler.task_type)
            if own is None:
                own = self._own[handler.task_type] = ProcessGate(handler, monotonic=self._monotonic)
            gates.append(own)
        for state in keys:
            name = object_name(state.task_type, state.kind, state.key)
            shared = self._shared.get(name)
            if shared is None:
                shared = self._shared[name] = SharedGate(
                    state,
                    _rule(handler, state.kind),
                    process=self._process,
                    store=self._store,
                    lock=self._lock,
                    now=self._now,
                    chance=self._chance,
                )
            gates.append(shared)
        return tuple(gates)


def _rule(handler: Handler, kind: Kind) -> Rule:
    if kind == "serial" or handler.limit is None:
        return Rule(slots=1, rate=None)
    return Rule(slots=handler.limit.max_concurrency, rate=handler.limit.parsed_rate)


def _keys(handler: Handler, task: TaskMessage) -> Iterator[LimitState]:
    """The shared limits that a task has to pass, each as the content of a new object."""
    limit = handler.limit
    with contextlib.suppress(Exception):  # no such payload: its attempt fails with that for its reason
        never = datetime.min.replace(tzinfo=UTC)
        if limit is not None:
            yield LimitState(
                task_type=handler.task_type,
                kind="limit",
                key=handler.values_of(task.payload, limit.key),
                rate=limit.rate,
                max_concurrency=limit.max_concurrency,
                updated_at=never,
            )
        if handler.serial_by:
            key = handler.values_of(task.payload, handler.serial_by)
            yield LimitState(task_type=handler.task_type, kind="serial", key=key, max_concurrency=1, updated_at=never)
