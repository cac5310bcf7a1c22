"""A worker process: streams on its queues, threads that run the tasks, and an orderly shutdown."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from poolhouse.pipeline import hooks
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.control.state import QueueControl
from poolhouse.pipeline.errors import BucketMissing
from poolhouse.pipeline.index.journal import Journal, journalled
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.metrics.definitions import BUSY_SLOTS, SLOTS
from poolhouse.pipeline.metrics.process_metrics import Observed, open_metrics, process_hooks
from poolhouse.pipeline.metrics.storage_calls import observed
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.timing import clock
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.pipeline.traces.process_traces import hook_names, open_traces
from poolhouse.worker.errors import WorkerStopping
from poolhouse.worker.registry import Registry
from poolhouse.worker.runtime.admission.keeper import LimitKeeper
from poolhouse.worker.runtime.admission.limits import Limits
from poolhouse.worker.runtime.attempts import Attempts
from poolhouse.worker.runtime.await_topology import await_topology
from poolhouse.worker.runtime.control_watch import ControlWatch
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from poolhouse.worker.runtime.delivery import Delivery
from poolhouse.worker.runtime.execution.executor import Executor
from poolhouse.worker.runtime.execution.thread_pool import TaskThreads
from poolhouse.worker.runtime.health.vitals import Vitals
from poolhouse.worker.runtime.heartbeat import Heartbeat
from poolhouse.worker.runtime.pulling.intake import DEAD_LETTER_CONCURRENCY, Intake
from poolhouse.worker.runtime.pulling.sources import DEAD_LETTER_LANE, sources
from poolhouse.worker.runtime.pulling.streams import Streams
from poolhouse.worker.runtime.pulling.subscriber import open_subscriber
from poolhouse.worker.runtime.quarantine import Quarantine
from poolhouse.worker.runtime.retrying import RetryUntilStopped
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.runtime.settlement import Counts, Settlement
from poolhouse.worker.timer_loop import LOOKAHEAD_S, TimerLoop
from poolhouse.worker.webhooks.delivery import with_deliveries

#: Part of the grace period in which running tasks may end by themselves; then checkpoints raise `WorkerStopping`.
UNDISTURBED_GRACE = 0.5
#: Time kept at the end of the grace period to write records and give messages back, in seconds.
GIVE_BACK_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What a worker process is to do."""

    #: Queues to serve, the most urgent first.
    queues: Sequence[str]
    #: Whether to keep what arrives on the queues' dead-letter subscriptions, and to fire timers.
    dead_letters: bool = False
    #: How much earlier than due timers are fired, in seconds: the time until this, or another process, looks again.
    lookahead_s: float = LOOKAHEAD_S


class Worker:
    """Runs until it is stopped. `start`, then `stop` from any thread; `wait` returns once all has ended."""

    def __init__(
        self,
        settings: Settings,
        options: WorkerOptions,
        *,
        registry: Registry,
        store: ObjectStore,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._settings = settings
        self._options = options
        self._registry = with_deliveries(registry, settings.topology)
        self._metrics = open_metrics(settings, part="worker", task_types=registry)
        self._traces = open_traces(settings, part="worker")
        store = observed(store, self._metrics, self._traces)
        self._journal = Journal(
            store, flush_s=settings.topology.index.write_interval_s, unrecorded=self._registry.unrecorded
        )
        self._store = journalled(store, self._journal)
        self._now = now
        self._topology = settings.topology
        self._name = f"{socket.gethostname()}-{os.getpid()}"
        lanes = {name: self._topology.by_name[name].workers.concurrency for name in options.queues}
        if options.dead_letters:
            lanes[DEAD_LETTER_LANE] = DEAD_LETTER_CONCURRENCY
        self._threads = TaskThreads(lanes)
        self._heartbeat = Heartbeat(now=now, metrics=self._metrics)
        self._control = ControlWatch(ControlStore(store), on_change=self._follow)
        self._executor = Executor(task_handlers=settings.handlers, hooks=hook_names(settings))
        self._hooks = registry.hooks(process_hooks(hook_names(settings), self._metrics))
        self._timers: TimerLoop | None = None
        self._limits = Limits(
            partial(self._resume, admitted=True),
            store=store,
            process=f"{self._name}-{secrets.token_hex(4)}",
            now=now,
        )
        #: Reentrant: `stop` is called by signal handlers, which may interrupt a call that holds it.
        self._lifecycle = threading.RLock()
        self._started = False
        self._stop_reason: str | None = None
        self._stop_asked = threading.Event()
        #: Set when calls that wait for a service must give up.
        self._giving_up = threading.Event()
        self._ended = threading.Event()
        self._failure: BaseException | None = None

    @property
    def counts(self) -> Counts:
        """What has come of the deliveries so far."""
        return self._attempts.counts

    @property
    def idle_s(self) -> float:
        """Seconds since the last message came or ended; 0 while one is in hand, parked ones included."""
        firing = self._timers is not None and self._timers.busy
        if self._threads.busy or self._attempts.waiting or firing:
            self._intake.last_activity_s = time.monotonic()  # one that is just being resumed is seen in neither place
            return 0.0
        return time.monotonic() - self._intake.last_activity_s

    def vitals(self) -> Vitals:
        """What tells whether it gets on with its work; all is well until it has started, and once it stops.

        Takes no lock: one may be what the worker hangs on.
        """
        if not self._started or self._stop_asked.is_set():
            return Vitals()
        threads = {
            "heartbeat": self._heartbeat.alive,
            "queue-control": self._control.alive,
            "limits": self._limit_keeper.alive,
            "timers": self._timers is None or self._timers.alive,
        }
        return Vitals(
            closed=self._streams.closed(paused=self._control().paused),
            dead=tuple(name for name, alive in threads.items() if not alive),
            lost=self._threads.lost,
            parts={**self._threads.parts, "the heartbeat": self._heartbeat.part},
        )

    def start(self) -> None:
        """Connect and open the streams.

        Raises:
            ConfigError: the deployment's key is none.
            BucketMissing: the bucket is not there.
            Stopping: the worker was stopped while the bucket did not answer.
        """
        self._subscriber = open_subscriber()
        subscriptions = tuple(
            sources(
                self._options.queues,
                self._topology,
                project=self._settings.google_cloud_project,
                dead_letters=self._options.dead_letters,
            )
        )
        if self._settings.wait_for_topology_s:
            await_topology(
                self._store,
                self._subscriber,
                [source.path for source in subscriptions],
                timeout_s=self._settings.wait_for_topology_s,
                stopping=self._stop_asked,
            )
        until_ready = RetryUntilStopped(self._stop_asked, hopeless=(BucketMissing,))
        task_ids = until_ready(partial(load_task_ids, self._store))
        until_ready(self._control.look)
        self._publisher = Publisher(self._settings)
        self._publisher.on_submitted = self._journal.submitted
        self._publisher.on_publishing = self._traces.publishing if self._traces is not None else None
        services = Services(
            topology=self._topology,
            project=self._settings.google_cloud_project,
            registry=self._registry,
            store=self._store,
            bucket=self._settings.bucket_name,
            publisher=self._publisher,
            task_ids=task_ids,
            now=self._now,
            retry_io=RetryUntilStopped(self._giving_up),
            control=self._control,
            hooks=self._hooks,
            after_end=self._registry.after_end(self._topology, lambda: task_ids, store=self._store),
        )
        self._attempts = Attempts(
            services,
            settlement=Settlement(services),
            limits=self._limits,
            quarantine=Quarantine(partial(self._resume, admitted=False)),
            executor=self._executor,
            heartbeat=self._heartbeat,
            traces=self._traces,
            worker_name=self._name,
            on_abandoned=self._threads.abandon,
        )
        self._heartbeat.start()
        self._limit_keeper = LimitKeeper(self._limits, now=self._now, note_waiting=self._attempts.note_waiting)
        self._limit_keeper.start()
        self._intake = Intake(
            attempts=self._attempts,
            keeper=DeadLetterKeeper(services),
            threads=self._threads,
            publisher=self._publisher,
            registry=self._registry,
            topology=self._topology,
        )
        self._streams = Streams(
            self._subscriber,
            subscriptions,
            worker_name=self._name,
            threads=self._threads,
            intake=self._intake,
            stopping=self._stop_asked,
            giving_up=self._giving_up,
            on_failure=partial(self.fail, reason="a stream ended"),
        )
        self._follow(self._control())
        if self._options.dead_letters:
            self._timers = TimerLoop(
                Timers(self._store), self._publisher, now=self._now, lookahead_s=self._options.lookahead_s
            )
            self._timers.start()
        if self._metrics is not None:
            self._metrics.observe(SLOTS, lambda: self._slots(lambda busy, total: total))
            self._metrics.observe(BUSY_SLOTS, lambda: self._slots(lambda busy, total: busy))
            self._metrics.start()
        _log.info("worker ready", worker=self._name, queues=list(self._options.queues))
        with self._lifecycle:
            self._control.start()
            self._started = True
            if self._stop_reason is not None:
                self._begin_stop(self._stop_reason)

    def stop(self, reason: str) -> None:
        """Begin the orderly end; a second call ends the grace period at once. Returns immediately."""
        with self._lifecycle:
            if self._stop_reason is not None:
                self._giving_up.set()
                return
            self._stop_reason = reason
            self._stop_asked.set()
            if self._started:
                self._begin_stop(reason)

    def fail(self, error: BaseException, *, reason: str) -> None:
        """Stop because of an error, which `wait` raises."""
        self._failure = error
        self.stop(reason)

    def _begin_stop(self, reason: str) -> None:
        threading.Thread(target=self._stop, args=(reason,), name="stop", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; False if the time is over first. Raises what ended a stream for good.

        On the main thread, wait a second at most, and again: Python handles signals there alone, and the kernel may
        hand one to any other thread, which does not wake it.
        """
        ended = self._ended.wait(timeout_s)
        if ended and self._failure is not None:
            raise self._failure
        return ended

    def _slots(self, value: Callable[[int, int], int]) -> list[Observed]:
        usage = self._threads.usage
        return [(value(*usage[queue]), {"queue": queue}) for queue in self._options.queues]

    def _follow(self, control: QueueControl) -> None:
        self._streams.follow(control.paused)

    def _resume(self, delivery: Delivery, *, admitted: bool) -> None:
        self._threads.put(
            delivery.queue,
            lambda: self._attempts.process(delivery, admitted=admitted),
            give_back=lambda: self._attempts.return_unstarted(delivery),
        )

    def _stop(self, reason: str) -> None:
        try:
            self._stop_in_order(reason)
        except BaseException as error:  # noqa: BLE001 - a worker that neither works nor ends would be kept for ever
            _log.exception("the worker could not stop in order", worker=self._name)
            self._failure = self._failure or error
        self._ended.set()

    def _stop_in_order(self, reason: str) -> None:
        grace_s = self._settings.worker_grace_s
        deadline_s = time.monotonic() + grace_s
        _log.info("worker stopping", worker=self._name, reason=reason, running=self._threads.running, grace_s=grace_s)
        self._control.stop()
        self._streams.stop()
        for give_back in self._threads.close():
            give_back()
        for delivery in self._attempts.parked():
            self._attempts.return_unstarted(delivery)
        self._wait_idle(deadline_s - grace_s * (1 - UNDISTURBED_GRACE))
        for task in self._heartbeat.tasks():
            task.interrupt(WorkerStopping("the worker is stopping"))
        self._wait_idle(deadline_s - GIVE_BACK_S)
        self._giving_up.set()
        for task in self._heartbeat.tasks():
            task.abandon_handler()
        self._threads.wait_idle(max(0.0, deadline_s - time.monotonic()))
        self._close()
        _log.info("worker stopped", worker=self._name)

    def _wait_idle(self, until_s: float) -> None:
        """Wait until nothing runs, the time has come, or a second signal ends the grace period."""
        while not self._giving_up.is_set() and time.monotonic() < until_s:
            if self._threads.wait_idle(min(0.1, max(0.0, until_s - time.monotonic()))):
                return

    def _close(self) -> None:
        self._heartbeat.stop()
        self._limit_keeper.stop()
        self._executor.stop()
        if self._timers is not None:
            self._timers.stop()
        self._publisher.close()  # what was handed over is acked once its copy is published
        self._journal.close()
        self._streams.close()
        self._subscriber.close()
        self._hooks.close()
        if failed := hooks.failures():
            _log.warning("hooks have failed", times=dict(failed))
