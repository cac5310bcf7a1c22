"""A worker in the calling thread: the kit's own engine, one delivery at a time, on the clock of the test."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import Future
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

from poolhouse.pipeline import hooks
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.control.state import QueueControl
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks.dead_letter_attributes import earlier_deliveries
from poolhouse.pipeline.tasks.records import Step
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.testing.broker import Broker, Pulled
from poolhouse.testing.calls import Calls, WorkerDied, WorkerLife
from poolhouse.testing.surroundings import SeenStore, SeenTopics
from poolhouse.worker.registry import Registry
from poolhouse.worker.runtime.admission.limits import Limits
from poolhouse.worker.runtime.attempts import Attempts
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from poolhouse.worker.runtime.delivery import MAX_DEFER_S, Delivery
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.execution.executor import Executor
from poolhouse.worker.runtime.heartbeat import Heartbeat
from poolhouse.worker.runtime.quarantine import Quarantine
from poolhouse.worker.runtime.retrying import RetryUntilStopped
from poolhouse.worker.runtime.running_task import RunningTask
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.runtime.settlement import Settlement
from poolhouse.worker.steps import Ledger
from poolhouse.worker.webhooks.delivery import with_deliveries

_T = TypeVar("_T")


class OneWorker:
    """Works on what it is handed. After its death, make another one."""

    def __init__(
        self,
        life: WorkerLife,
        *,
        settings: Settings,
        registry: Registry,
        broker: Broker,
        calls: Calls,
        store: SeenStore,
        topics: SeenTopics,
        task_ids: TaskIds,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        pause: Callable[[float], None],
        on_deferred: Callable[[Pulled, float], None],
        control: Callable[[], QueueControl],
    ) -> None:
        """Does nothing yet.

        Args:
            life: dies where the test says; `store` and `topics` know it too.
            pause: lets time pass while a call is to be tried again, in seconds.
            on_deferred: called with a message that is put off, and for how many seconds.
            control: gives what is decided about the queues.
        """
        self.life = life
        self._broker = broker
        self._calls = calls
        self._on_deferred = on_deferred
        #: Deliveries in hand: the one that runs, and those that wait for their type's limits.
        self.held: dict[str, Pulled] = {}
        self._resumed: list[tuple[Delivery, bool]] = []
        self._executor = _CallingThread(settings.handlers, calls, life)
        self.heartbeat = Heartbeat(now=now, monotonic=monotonic, calls=_AtOnce())
        self._publisher = Publisher(settings, topics=topics)
        services = Services(
            topology=settings.topology,
            project=settings.google_cloud_project,
            registry=with_deliveries(registry, settings.topology),
            store=store,
            bucket=settings.bucket_name,
            publisher=self._publisher,
            task_ids=task_ids,
            now=now,
            retry_io=RetryUntilStopped(_Pauses(pause)),
            control=control,
            hooks=registry.hooks(hooks.load(settings.topology.hooks)),
            after_end=registry.after_end(settings.topology, lambda: task_ids, store=store),
        )
        #: The limits of task types; parked deliveries go on in `resume`.
        self._limits = Limits(
            lambda delivery: self._resumed.append((delivery, True)),
            store=store,
            process=life.name,
            now=now,
            monotonic=monotonic,
            chance=random.Random(life.name),
        )
        self._now = now
        self._monotonic = monotonic
        self._attempts = Attempts(
            services,
            settlement=Settlement(services),
            limits=self._limits,
            quarantine=Quarantine(lambda delivery: self._resumed.append((delivery, False))),
            executor=self._executor,
            heartbeat=self.heartbeat,
            worker_name=life.name,
            on_abandoned=lambda _: None,
            monotonic=monotonic,
        )
        self._dead_letters = DeadLetterKeeper(services)

    @property
    def next_look_s(self) -> float | None:
        """When limits are to be looked at, on the monotonic clock; None where none is in use."""
        found = [self._limits.next_start_s, self._monotonic_s(self._limits.next_act_at())]
        return min((at_s for at_s in found if at_s is not None), default=None)

    @property
    def next_try_s(self) -> float | None:
        """When a limit that keeps a task waiting, and not by its rate, is looked at again; None where none does."""
        return self._monotonic_s(self._limits.next_act_at(waits_for_rate=False))

    def keep(self) -> None:
        """Renew what is held, while time passes."""
        self.heartbeat.tick()
        while (at_s := self._monotonic_s(self._limits.next_act_at())) is not None and at_s <= self._monotonic():
            self._limits.act(_AtOnce())
            self._limits.look()
        for delivery, limit in self._limits.long_waiting():
            self._attempts.note_waiting(delivery, limit)

    def work(self, pulled: Pulled, *, queue: str, dead_letter: bool) -> None:
        """Bring a message to its end. Raises `WorkerDied`."""
        self.held[pulled.ack_id] = pulled
        delivery = _Held(self, pulled, queue, dead_letter=dead_letter)
        if dead_letter:
            self._dead_letters.process(delivery)
        else:
            self._attempts.process(delivery)
        self._survives()
        self.resume()

    def resume(self) -> None:
        """Go on with parked tasks that have room by now. Raises `WorkerDied`."""
        self._limits.look()
        self.keep()
        while self._resumed:
            delivery, admitted = self._resumed.pop(0)
            self._attempts.process(delivery, admitted=admitted)
            self._survives()
            self.keep()

    def close(self) -> None:
        """End it; what it holds comes again once its lease is over."""
        self._attempts.parked()
        self.heartbeat.stop()
        self._executor.stop()
        self.held.clear()

    def settle(self, pulled: Pulled, operation: str, call: Callable[[], None]) -> None:
        """End a delivery, as far as the worker lives."""
        self._calls.act(operation, call, target=pulled.subscription, by=self.life, step="ack")
        self.held.pop(pulled.ack_id, None)

    def acknowledge(self, pulled: Pulled) -> None:
        """Ack; a fault of the test's loses it."""
        lost = [fault for fault in self._calls.faults if fault.strikes("queue.ack", pulled.subscription)]
        if lost:
            self._calls.tell(f"fault: the ack of {pulled.subscription} is lost")
            self.held.pop(pulled.ack_id, None)
            return
        self.settle(pulled, "queue.ack", lambda: self._broker.ack(pulled.subscription, pulled.ack_id))

    def defer(self, pulled: Pulled, seconds: float, *, operation: str) -> None:
        """Give a message back for a while."""
        self.settle(
            pulled, operation, lambda: self._broker.modify(pulled.subscription, pulled.ack_id, _whole_s(seconds))
        )
        if seconds:
            self._on_deferred(pulled, seconds)

    def hand_over(self, pulled: Pulled, queue: str, task_id: str) -> None:
        """Publish a copy of a message, and ack it."""
        self._publisher.publish_raw(queue, pulled.data, {**pulled.attributes, "task_id": task_id}).result()
        self.acknowledge(pulled)

    def _monotonic_s(self, at: datetime | None) -> float | None:
        return None if at is None else self._monotonic() + (at - self._now()).total_seconds()

    def _survives(self) -> None:
        if self.life.dead:  # code of the handler's may have caught it
            raise WorkerDied(f"{self.life.name} is dead")


class _Held:
    """`Delivery` of a pulled message."""

    def __init__(self, worker: OneWorker, pulled: Pulled, queue: str, *, dead_letter: bool) -> None:
        self._worker = worker
        self._pulled = pulled
        self._queue = queue
        self._dead_letter = dead_letter

    @property
    def queue(self) -> str:
        return self._queue

    @property
    def data(self) -> bytes:
        return self._pulled.data

    @property
    def attributes(self) -> Mapping[str, str]:
        return self._pulled.attributes

    @property
    def message_id(self) -> str:
        return self._pulled.message_id

    @property
    def published_at(self) -> datetime:
        return self._pulled.published_at

    @property
    def attempt(self) -> int:
        return earlier_deliveries(self._pulled.attributes) + self._pulled.attempt

    def ack(self) -> None:
        self._worker.acknowledge(self._pulled)

    def nack(self) -> None:
        self._worker.defer(self._pulled, 0, operation="queue.nack")

    def defer(self, seconds: float) -> None:
        self._worker.defer(self._pulled, max(1, seconds), operation="queue.defer")

    def hand_over(self, task_id: str) -> None:
        self._worker.hand_over(self._pulled, self._queue, task_id)


class _CallingThread(Executor):
    """Runs handlers of all kinds in this process, `cpu=True` too: a process would not see the test's clock."""

    def __init__(self, handlers: tuple[str, ...], calls: Calls, life: WorkerLife) -> None:
        super().__init__(task_handlers=handlers)
        self._calls = calls
        self._life = life

    def run(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        def handle() -> Any:
            self._life.in_handler = True
            try:
                return self.run_here(task, payload, context)
            finally:
                self._life.in_handler = False

        number = task.record.last_attempt
        context.steps.ledger = _SeenLedger(context.steps.ledger, self._calls, self._life, task.record.task_type)
        self._calls.tell(f"attempt {number} of {task.record.task_type} {task.record.task_id} begins")
        try:
            value = handle()
        except BaseException as error:
            self._calls.tell(f"attempt {number} raises {type(error).__name__}: {error}")
            raise
        return self._calls.act(
            "handler", lambda: value, target=f"of {task.record.task_type}", by=self._life, step="handler"
        )


class _SeenLedger:
    """`Ledger` whose worker may die before or after a step is recorded."""

    def __init__(self, ledger: Ledger, calls: Calls, life: WorkerLife, task_type: str) -> None:
        self._ledger = ledger
        self._calls = calls
        self._life = life
        self._task_type = task_type

    def find(self, name: str) -> Step | None:
        return self._ledger.find(name)

    def load(self, step: Step) -> bytes:
        return self._ledger.load(step)

    def record(self, name: str, result: bytes, *, started_at: datetime) -> None:
        self._calls.tell(f"step {name!r} of {self._task_type} ends")
        self._calls.act(
            "step",
            lambda: self._ledger.record(name, result, started_at=started_at),
            target=f"{name!r} of {self._task_type}",
            by=self._life,
        )


class _Pauses(threading.Event):
    """An event whose waits take time of the test's clock, and none of the test."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        super().__init__()
        self._pause = pause

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._pause(timeout or 0.0)
        return self.is_set()


class _AtOnce(Pool):
    """A pool that makes each call where it is submitted."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        done: Future[_T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def _whole_s(seconds: float) -> int:
    return MAX_DEFER_S if seconds >= MAX_DEFER_S else -int(-seconds // 1)
