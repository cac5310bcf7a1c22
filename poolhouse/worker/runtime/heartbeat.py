"""Looks after the tasks in hand: renews leases, writes progress, notices cancel calls and time limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime

import structlog

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.metrics.process_metrics import LeaseOutcome, ProcessMetrics
from poolhouse.worker.errors import LeaseLost, TaskTimeout
from poolhouse.worker.runtime.execution.interruption import HARD_LIMIT_AFTER_S
from poolhouse.worker.runtime.health.vitals import Part
from poolhouse.worker.runtime.running_task import RunningTask

#: Seconds between two looks at the tasks in hand: so long a cancel call may go unseen.
TICK_S = 1.0
#: Tasks younger than this are left alone: most end before anything needs to be written, or read, for them. Not less
#: than a second from the claim: storage takes no second write before.
QUIET_S = 1.0

_log = structlog.get_logger(__name__)


class Heartbeat:
    """One thread for all tasks of a worker, and a few for its storage calls."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        calls: Executor | None = None,
        metrics: ProcessMetrics | None = None,
    ) -> None:
        """Look after nothing before `start`, or a `tick` from outside.

        Args:
            now: tells the time.
            monotonic: measures how long attempts run, in seconds.
            calls: makes the storage calls; by default a few threads.
            metrics: count the leases that are written.
        """
        self._now = now
        self._monotonic = monotonic
        self._metrics = metrics
        self._tasks: set[RunningTask] = set()
        self._in_call: set[RunningTask] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._calls = calls or ThreadPoolExecutor(max_workers=8, thread_name_prefix="heartbeat-call")
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._stopped = False
        self._ticks = 0

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def part(self) -> Part:
        """It, as a judge of the worker's health sees it. Takes no lock."""
        return Part(busy=bool(self._tasks), moves=self._ticks)

    def start(self) -> None:
        """Begin to look after what is added."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; tasks still in hand are no longer looked after."""
        self._stopped = True
        self._wake.set()
        self._calls.shutdown(wait=False, cancel_futures=True)

    def add(self, task: RunningTask) -> None:
        """Look after a task from now on."""
        with self._lock:
            self._tasks.add(task)
            first = len(self._tasks) == 1
        if first:
            self._wake.set()

    def remove(self, task: RunningTask) -> None:
        """The task has ended."""
        task.ended = True
        with self._lock:
            self._tasks.discard(task)

    def tasks(self) -> tuple[RunningTask, ...]:
        """The tasks in hand."""
        with self._lock:
            return tuple(self._tasks)

    def tick(self) -> None:
        """Look once at every task in hand."""
        now_s = self._monotonic()
        for task in self.tasks():
            age_s = now_s - task.started_s
            limit_s = task.handler.timeout_s
            if limit_s is not None and age_s > limit_s:
                task.interrupt(TaskTimeout(f"the handler ran longer than {limit_s:g} s"))
                if age_s > limit_s + HARD_LIMIT_AFTER_S:
                    task.abandon_handler()
            if age_s > QUIET_S:
                self._call(task)

    def _call(self, task: RunningTask) -> None:
        with self._lock:
            if task in self._in_call or self._stopped:
                return
            self._in_call.add(task)
        self._calls.submit(self._renew_and_look, task)

    def _renew_and_look(self, task: RunningTask) -> None:
        try:
            if task.renew(now=self._now):
                self._count(task, "renewed")
            task.look()
        except LeaseLost:
            self._count(task, "lost")
            _log.warning("another worker has taken a task over", task_id=task.record.task_id)
        except PoolhouseError as error:  # storage is down, or the record can't be read any more
            self._count(task, "failed")
            _log.warning("a task in hand could not be looked after", task_id=task.record.task_id, error=str(error))
        finally:
            with self._lock:
                self._in_call.discard(task)

    def _count(self, task: RunningTask, outcome: LeaseOutcome) -> None:
        if self._metrics is not None:
            self._metrics.lease_renewed(task.record.queue, outcome=outcome)

    def _run(self) -> None:
        while not self._stopped:
            if not self.tasks():
                self._wake.wait()  # nothing in hand: no ticking, no CPU
                self._wake.clear()
                continue
            time.sleep(TICK_S)
            self._ticks += 1
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - a mistake about one task must not cost all others their leases
                _log.exception("the heartbeat failed")
