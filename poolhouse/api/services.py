"""What the calls work with: made once for an application, found by each call through `Provided`."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from poolhouse.api.backlog import BacklogSource
from poolhouse.api.counts import Counts
from poolhouse.api.problems import Problem
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError, StoreUnavailable
from poolhouse.pipeline.hooks import Hooks
from poolhouse.pipeline.index.journal import Journal
from poolhouse.pipeline.index.task_index import TaskIndex
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.after_end import Rule, tasks_after
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.pipeline.tasks.task_id_key import load_task_ids, reload_task_ids
from poolhouse.pipeline.tasks.task_ids import TaskIds, well_formed
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.worker.registry import Registry

#: What the process gets to end once it is told to, in seconds: Cloud Run kills it after 10 (Cloud Run, Container
#: runtime contract).
END_S = 9.5
#: Storage calls at the same time: as many as `poolhouse.pipeline.store` keeps connections for.
STORAGE_THREADS = 64
#: Shortest time between two looks for new keys of the task ids, in seconds: clients that send invented ids must not
#: cost storage calls.
RELOAD_S = 10.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Services:
    """Queue, bucket, handlers and clock of one application."""

    settings: Settings
    registry: Registry
    store: ObjectStore
    publisher: Publisher
    backlog: BacklogSource
    clock: Callable[[], datetime]
    threads: Threads
    deployment: Deployment
    index: TaskIndex
    journal: Journal
    dead_letter_counts: Counts = field(default_factory=Counts)
    ending: Ending = field(default_factory=lambda: Ending(within_s=END_S))
    hooks: Hooks = field(default_factory=Hooks)
    #: What follows the end of a task.
    after_end: Sequence[Rule] = ()

    @property
    def topology(self) -> Topology:
        """The queues."""
        return self.settings.topology

    @property
    def records(self) -> RecordStore:
        """The records in the bucket."""
        return RecordStore(self.store)

    async def task_ids(self) -> TaskIds:
        """The deployment's task ids; only the first call reads the bucket. Raises `StoreUnavailable`."""
        known = self.deployment.task_ids
        return await self.threads.run(self.deployment.load) if known is None else known

    async def issued(self, task_id: str) -> bool:
        """Whether this deployment made an id. Raises `StoreUnavailable`."""
        ids = await self.task_ids()
        return ids.issued(task_id) or await self.threads.run(self.deployment.issued, task_id)

    async def on_state(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Make a call that reads state of the bucket; one that can't be read is a conflict that a person has to end."""
        try:
            return await self.threads.run(call, *args, **kwargs)
        except ConfigError as error:
            raise Problem(409, str(error)) from None

    async def dead_letters(self) -> DeadLetterStore:
        """The dead letters in the bucket. Raises `StoreUnavailable`."""
        return DeadLetterStore(
            self.store,
            queues=tuple(self.topology.by_name),
            task_ids=await self.task_ids(),
            inline_bytes=self.topology.payloads.inline_bytes,
        )

    async def count_dead_letters(self, queue: str) -> int:
        """Return a queue's dead letters; of thousands, as they were some seconds ago. Raises `StoreUnavailable`."""
        box = await self.dead_letters()
        return await self.dead_letter_counts.of(queue, partial(self.threads.run, box.count, queue))

    async def send(self, task: TaskMessage, *, now: datetime) -> str:
        """Send a task to its queue, or keep it until its time; returns the message's id, empty where it is a timer."""
        sent = await self.threads.run(Timers(self.store).send, task, self.publisher, now=now)
        return await asyncio.wrap_future(sent)

    async def send_following(self, record: TaskRecord) -> None:
        """Publish what follows the end of a task, again where it has been published. Raises `ServiceUnavailable`."""
        await self.threads.run(self.follow, record)

    def follow(self, record: TaskRecord) -> None:
        """As `send_following`, blocking."""
        for task in tasks_after(record, self.after_end, inline_bytes=self.topology.payloads.inline_bytes):
            self.send_blocking(task).result()

    def send_blocking(self, task: TaskMessage) -> Future[str]:
        """Publish a task that follows another or belongs to a group; the future is as `Publisher.submit`'s."""
        task = self.hooks.submitting(self.registry.placed(task, self.topology))
        return Timers(self.store).send(task, self.publisher, now=self.clock())

    def check(self) -> None:
        """Raise `ConfigError` where handlers and `pipeline.toml` don't fit together."""
        self.registry.check(self.topology, declared_in=self.settings.pipeline_file)


class Threads:
    """Runs storage calls, which block, on threads."""

    def __init__(self, *, wait_s: float) -> None:
        """Start no thread yet.

        Args:
            wait_s: the longest that a call waits for a free thread, in seconds: beyond that storage is too slow to
                queue up for.
        """
        self._wait_s = wait_s
        self._free = asyncio.Semaphore(STORAGE_THREADS)
        self._pool = ThreadPoolExecutor(STORAGE_THREADS, thread_name_prefix="storage")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function on a thread. Raises what it raises, and `StoreUnavailable` where no thread gets free."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"storage is too slow: {STORAGE_THREADS} calls are waiting for it") from None
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, partial(contextvars.copy_context().run, function, *args, **kwargs)
            )
        finally:
            self._free.release()

    def close(self) -> None:
        """Start nothing more; what runs may end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Ending:
    """How much time the process has left, once it is told to end."""

    def __init__(self, *, within_s: float) -> None:
        self._within_s = within_s
        self._ends_at_s: float | None = None

    def begin(self) -> None:
        """Let the time run; does nothing where it runs already."""
        if self._ends_at_s is None:
            self._ends_at_s = time.monotonic() + self._within_s

    def left_s(self) -> float:
        """Return the seconds that are left; never less than none."""
        if self._ends_at_s is None:
            return self._within_s
        return max(0.0, self._ends_at_s - time.monotonic())


class Deployment:
    """The keys behind the task ids: read at the first need, kept from then on."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.task_ids: TaskIds | None = None
        self._reloaded_s = -RELOAD_S

    def load(self) -> TaskIds:
        """Read it, or make it where the deployment is new. Raises `StoreUnavailable`, `ConfigError`."""
        with self._lock:
            if self.task_ids is None:
                self.task_ids = load_task_ids(self._store)
            return self.task_ids

    def issued(self, task_id: str) -> bool:
        """Return whether this deployment made an id; reads the keys again where it seems not, at most now and then.

        Raises `StoreUnavailable`, `ConfigError`.
        """
        ids = self.load()
        if ids.issued(task_id):
            return True
        with self._lock:
            now_s = time.monotonic()
            if not well_formed(task_id) or now_s - self._reloaded_s < RELOAD_S:
                return False
            self._reloaded_s = now_s
            self.task_ids = ids = reload_task_ids(self._store, ids)
        return ids.issued(task_id)


def services_of(request: Request) -> Services:
    """What the application of a request stands on."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def _provide(request: Request) -> Services:
    return services_of(request)


#: The parameter of a call that needs them.
Provided = Annotated[Services, Depends(_provide)]
