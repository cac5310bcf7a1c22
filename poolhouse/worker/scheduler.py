"""The scheduler: submits the tasks of pipeline.toml's schedules at their times. `python -m poolhouse.worker schedules`.

Beside them it fires the timers of tasks that wait for a time (`poolhouse.worker.timer_loop`).

Any number of them may run: each run is claimed in the bucket (`poolhouse.pipeline.timing.schedules`). Between two due
times a scheduler sleeps and makes no calls; it notices what was paused or run elsewhere when the next run is due.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import (
    BucketMissing,
    ConfigError,
    Conflict,
    MessageRefused,
    PreconditionFailed,
    ServiceUnavailable,
)
from poolhouse.pipeline.index.journal import Journal, journalled
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.metrics.process_metrics import open_metrics, process_hooks
from poolhouse.pipeline.metrics.storage_calls import observed
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.timing import clock
from poolhouse.pipeline.timing.cron import next_due
from poolhouse.pipeline.timing.schedules import Schedules, StoredState, problem_of, queue_of, run_due
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.pipeline.traces.process_traces import hook_names, open_traces
from poolhouse.worker.registry import Registry
from poolhouse.worker.runtime.retrying import RetryUntilStopped
from poolhouse.worker.timer_loop import TimerLoop

#: Pause before a run is tried again whose queue or bucket did not answer, in seconds.
RETRY_S = 5.0
#: The same after an error that is not expected, in seconds: nothing says that it will go away.
UNEXPECTED_RETRY_S = 60.0
#: Longest sleep, in seconds: waits are measured without the time a machine is suspended, due times are not.
LONGEST_SLEEP_S = 30.0

_log = structlog.get_logger(__name__)


class SchedulePlanner:
    """When to look at which schedule, and what to do then. No thread and no clock of its own."""

    def __init__(self, schedules: Schedules, *, owner: str) -> None:
        """Every schedule is looked at at the first `tick`."""
        self._schedules = schedules
        self._owner = owner
        self._wake_at: dict[str, datetime | None] = {}
        self._ticked_at: datetime | None = None

    def tick(self, now: datetime) -> datetime | None:
        """Do what is due; returns when to be called again, None if nothing will ever be due."""
        if self._ticked_at is not None and now < self._ticked_at - clock.MARGIN:
            _log.warning("the clock was set back: every schedule is looked at again", was=self._ticked_at.isoformat())
            self._wake_at.clear()
        self._ticked_at = now
        for schedule in self._schedules.declared:
            wake_at = self._wake_at.setdefault(schedule.name, now)
            if wake_at is not None and wake_at <= now:
                self._wake_at[schedule.name] = self._look(schedule, now)
        return min(filter(None, self._wake_at.values()), default=None)

    def _look(self, schedule: Schedule, now: datetime) -> datetime | None:
        """Look at one schedule; returns when to look again."""
        log = _log.bind(schedule=schedule.name)
        again = now + timedelta(seconds=RETRY_S)
        try:
            stored = self._mine(schedule, now)
            if isinstance(stored, StoredState):
                run = self._schedules.publish(schedule.name, stored, now=now)
                log.info("schedule run", task_id=run.task_id, due_at=run.due_at.isoformat())
                return now  # perhaps another has come due meanwhile
        except PreconditionFailed:
            return now  # another scheduler was first: see what it made of it
        except (ServiceUnavailable, Conflict) as error:
            log.warning("a schedule waits for a service", error=str(error), wait_s=RETRY_S)
            return again
        except (MessageRefused, ConfigError) as error:
            log.error("a schedule can't run", error=str(error))
            return next_due(schedule, after=now)
        except Exception as error:
            log.error("a schedule failed unexpectedly", exc_info=error, wait_s=UNEXPECTED_RETRY_S)
            return now + timedelta(seconds=UNEXPECTED_RETRY_S)
        return stored

    def _mine(self, schedule: Schedule, now: datetime) -> StoredState | datetime | None:
        """The state with a run that is ours to publish; else when to look again."""
        name = schedule.name
        stored = self._schedules.look(name, now=now)
        following = next_due(schedule, after=now)
        if (pending := stored.state.pending) is not None:
            if pending.owner == self._owner:
                return stored  # our own try before this one failed
            expires_at = pending.claim_expires_at(now=now)
            if expires_at > now:
                return min(filter(None, (expires_at, following)))
            return self._schedules.take_over(name, stored, now=now)
        due_at = run_due(schedule, stored.state, now=now)
        return following if due_at is None else self._schedules.claim(name, stored, due_at=due_at, now=now)


class Scheduler:
    """Runs the planner on a thread. `start`, then `stop` from any thread; `wait` returns once it has ended."""

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry,
        store: ObjectStore,
        publisher: Publisher | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """Nothing is called yet.

        Args:
            settings: the environment.
            registry: the handlers whose tasks may be submitted.
            store: the bucket.
            publisher: the queues; closed at the end.
            now: the clock; an aware datetime.
        """
        self._settings = settings
        self._registry = registry
        self._metrics = open_metrics(settings, part="scheduler", task_types=registry)
        self._traces = open_traces(settings, part="scheduler")
        store = observed(store, self._metrics, self._traces)
        self._journal = Journal(store, flush_s=settings.topology.index.write_interval_s, unrecorded=registry.unrecorded)
        self._store = journalled(store, self._journal)
        self._publisher = publisher
        self._now = now
        self._hooks = registry.hooks(process_hooks(hook_names(settings), self._metrics))
        self._stop_asked = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Read the deployment's key and begin.

        Raises:
            ConfigError: the deployment's key is none.
            BucketMissing: the bucket is not there.
            Stopping: stopped while the bucket did not answer.
        """
        topology = self._settings.topology
        runnable = []
        for schedule in topology.schedules:
            problem = problem_of(schedule, self._registry)
            if problem is None:
                runnable.append(schedule)
            else:
                _log.error("a schedule can't run: mend it in pipeline.toml", schedule=schedule.name, error=problem)
        # The random part: a container's process id and host name may be another's too.
        owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        task_ids = RetryUntilStopped(self._stop_asked, hopeless=(BucketMissing,))(partial(load_task_ids, self._store))
        publisher = self._publisher or Publisher(self._settings)
        publisher.on_submitted = self._journal.submitted
        publisher.on_publishing = self._traces.publishing if self._traces is not None else None
        schedules = Schedules(
            self._store,
            topology=topology.model_copy(update={"schedules": tuple(runnable)}),
            task_ids=task_ids,
            publisher=publisher,
            queue_of=partial(queue_of, task_types=self._registry, topology=topology),
            owner=owner,
            hooks=self._hooks,
        )
        self._timers = TimerLoop(Timers(self._store), publisher, now=self._now)
        self._thread = threading.Thread(
            target=self._run, args=(SchedulePlanner(schedules, owner=owner), publisher), name="scheduler", daemon=True
        )
        self._thread.start()
        self._timers.start()
        if self._metrics is not None:
            self._metrics.start()
        _log.info("scheduler ready", scheduler=owner, schedules=[schedule.name for schedule in runnable])

    def stop(self, reason: str) -> None:
        """Begin the end: a run in hand is finished or left to its claim. Returns immediately."""
        self._stop_asked.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; False if the time is over first. Raises what ended it for good.

        On the main thread, wait a second at most, and again (`Worker.wait`).
        """
        if self._thread is None:
            return self._stop_asked.wait(timeout_s)
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        return not self._thread.is_alive()

    def _run(self, planner: SchedulePlanner, publisher: Publisher) -> None:
        try:
            while not self._stop_asked.is_set():
                wake_at = planner.tick(self._now())
                wait_s = LONGEST_SLEEP_S if wake_at is None else (wake_at - self._now()).total_seconds()
                self._stop_asked.wait(min(LONGEST_SLEEP_S, max(0.0, wait_s)))
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._timers.stop()
            publisher.close()
            self._journal.close()
            self._hooks.close()
