"""A worker process: streams on its queues, threads that run the tasks, and an orderly shutdown."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import methodcaller
from typing import Any

import structlog
from google.api_core import exceptions as google_errors
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message

from poolhouse.pipeline import hooks
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.control.state import QueueControl
from poolhouse.pipeline.errors import BucketMissing, ConfigError
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
from poolhouse.worker.registry import Handler, Registry
from poolhouse.worker.runtime.admission.keeper import LimitKeeper
from poolhouse.worker.runtime.admission.limits import Limits
from poolhouse.worker.runtime.attempts import Attempts
from poolhouse.worker.runtime.await_topology import await_topology
from poolhouse.worker.runtime.control_watch import ControlWatch
from poolhouse.worker.runtime.dead_letters import DeadLetterKeeper
from poolhouse.worker.runtime.delivery import Delivery, PubSubDelivery
from poolhouse.worker.runtime.execution.executor import Executor
from poolhouse.worker.runtime.execution.thread_pool import LaneScheduler, TaskThreads
from poolhouse.worker.runtime.half_close import half_close
from poolhouse.worker.runtime.health.streams import is_pulling
from poolhouse.worker.runtime.health.vitals import Vitals
from poolhouse.worker.runtime.heartbeat import Heartbeat
from poolhouse.worker.runtime.quarantine import Quarantine
from poolhouse.worker.runtime.retrying import LONGEST_WAIT_S, RetryUntilStopped
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.runtime.settlement import Counts, Settlement
from poolhouse.worker.runtime.subscriber import open_subscriber
from poolhouse.worker.timer_loop import LOOKAHEAD_S, TimerLoop
from poolhouse.worker.webhooks.delivery import with_deliveries

#: Messages held beyond those that run, as a multiple of the queue's concurrency: they hide the way from Pub/Sub.
PREFETCH = 1
#: The same where a task type keeps no record. Such tasks are short, and end faster than acks, which the client library
#: gathers for 10 ms, make room for the next ones: with 1 a process did 2,700 no-ops a second, with 6 it did 5,400.
PREFETCH_UNRECORDED = 6
#: Messages held beyond that where a task type has limits: those that are parked must not keep others from coming.
PARKED_MESSAGES = 1000
#: The client library gives a lease up after this time; ours end when the task does.
MAX_LEASE_S = 30 * 86_400.0
#: How long after its start a worker that is refused a subscription tries again, in seconds: the grant of a role may
#: take so long to come into force (IAM, Access change propagation).
GRANT_S = 600.0
#: Queue share of the dead letters: they have threads of their own, after all queues.
DEAD_LETTER_LANE = "dead letters"
DEAD_LETTER_CONCURRENCY = 2
#: Part of the grace period in which running tasks may end by themselves; then checkpoints raise `WorkerStopping`.
UNDISTURBED_GRACE = 0.5
#: Time that a server has to take note of the end of a stream before it is cut, in seconds.
HALF_CLOSE_S = 0.2
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


@dataclass(frozen=True)
class _Source:
    """A subscription that the worker pulls from, and the lane that its messages wait in."""

    queue: Queue
    subscription: str
    lane: str
    #: Its place in the lane, where the queue is fair.
    tier: int = 0


@dataclass
class _Stream:
    """An open streaming pull."""

    source: _Source
    future: Any
    scheduler: LaneScheduler
    #: Whether it is being closed because its queue is paused; the tasks that run keep their leases through it.
    paused: bool = False
    #: Whether it was refused, and will be opened again.
    refused: bool = False


def messages_held(queue: str, concurrency: int, handlers: Iterable[Handler], *, topology: Topology) -> int:
    """Return how many messages of a queue a worker holds at the most: those that run, and those that wait in it.

    Args:
        queue: the queue's name.
        concurrency: how many run at the same time.
        handlers: all that the worker has. A task may be sent to any queue, so a limit of any type counts; whether the
            tasks are short depends on the types whose own queue it is.
        topology: the queues.
    """
    handlers = tuple(handlers)
    short = any(not handler.record for handler in handlers if handler.queue_in(topology) == queue)
    limited = any(handler.limited for handler in handlers)
    prefetch = PREFETCH_UNRECORDED if short else PREFETCH
    return concurrency * (1 + prefetch) + (PARKED_MESSAGES if limited else 0)


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
        self._streams: list[_Stream] = []
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
        self._patient_until_s = time.monotonic() + GRANT_S
        self._last_activity_s = time.monotonic()

    @property
    def counts(self) -> Counts:
        """What has come of the deliveries so far."""
        return self._attempts.counts

    @property
    def idle_s(self) -> float:
        """Seconds since the last message came or ended; 0 while one is in hand, parked ones included."""
        firing = self._timers is not None and self._timers.busy
        if self._threads.busy or self._attempts.waiting or firing:
            self._last_activity_s = time.monotonic()  # one that is just being resumed is seen in neither place
            return 0.0
        return time.monotonic() - self._last_activity_s

    def vitals(self) -> Vitals:
        """What tells whether it gets on with its work; all is well until it has started, and once it stops.

        Takes no lock: one may be what the worker hangs on.
        """
        if not self._started or self._stop_asked.is_set():
            return Vitals()
        paused = self._control().paused
        pulled = {
            stream.source.subscription
            for stream in tuple(self._streams)
            if not stream.paused and (stream.refused or is_pulling(stream.future))
        }
        wanted = (
            source.subscription
            for source in self._sources()
            if source.lane == DEAD_LETTER_LANE or source.queue.name not in paused
        )
        threads = {
            "heartbeat": self._heartbeat.alive,
            "queue-control": self._control.alive,
            "limits": self._limit_keeper.alive,
            "timers": self._timers is None or self._timers.alive,
        }
        return Vitals(
            closed=tuple(name for name in wanted if name not in pulled),
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
        if self._settings.wait_for_topology_s:
            await_topology(
                self._store,
                self._subscriber,
                [self._path(source) for source in self._sources()],
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
        self._keeper = DeadLetterKeeper(services)
        with self._lifecycle:
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
        """Open and close the streams as the queues are resumed and paused."""
        with self._lifecycle:
            if self._stop_reason is not None:
                return
            for source in self._sources():
                stream = next((each for each in self._streams if each.source == source and not each.paused), None)
                paused = source.lane != DEAD_LETTER_LANE and source.queue.name in control.paused
                if paused and stream is not None:
                    stream.paused = True
                    stream.scheduler.hold()
                    threading.Thread(target=self._close_paused, args=(stream,), name="pause", daemon=True).start()
                elif not paused and stream is None:
                    self._open(source)

    def _close_paused(self, stream: _Stream) -> None:
        """Pull no more, give back what has not started, and let what runs go on."""
        self._cut([stream])
        for give_back in self._threads.withdraw(stream.source.lane):
            give_back()
        for delivery in self._attempts.parked_of(stream.source.queue.name):
            self._attempts.return_unstarted(delivery)
        stream.scheduler.release_when_empty()
        _log.info("queue paused", worker=self._name, queue=stream.source.queue.name, running=self._threads.running)

    def _open(self, source: _Source) -> None:
        queue, lane = source.queue, source.lane
        process: Callable[[Delivery], None] = self._keeper.process
        give_back: Callable[[Delivery], None] = methodcaller("nack")
        held = DEAD_LETTER_CONCURRENCY * (1 + PREFETCH)
        if lane != DEAD_LETTER_LANE:
            process, give_back = self._attempts.process, self._attempts.return_unstarted
            held = messages_held(
                queue.name,
                queue.workers.concurrency,
                self._registry.values(),
                topology=self._topology,
            )
        flow_control = pubsub_v1.types.FlowControl(
            max_messages=held,
            max_lease_duration=MAX_LEASE_S,
            min_duration_per_lease_extension=queue.ack_deadline_s,
            max_duration_per_lease_extension=queue.ack_deadline_s,
        )

        def delivery(message: Message) -> Delivery:
            return PubSubDelivery(message, queue.name, self._publisher.publish_raw, on_end=scheduler.ended)

        def receive(message: Message) -> None:
            self._last_activity_s = time.monotonic()
            process(delivery(message))
            self._last_activity_s = time.monotonic()

        scheduler = LaneScheduler(
            self._threads, lane, give_back=lambda message: give_back(delivery(message)), tier=source.tier
        )
        path = self._path(source)
        future = self._subscriber.subscribe(path, receive, flow_control=flow_control, scheduler=scheduler)
        stream = _Stream(source, future, scheduler)
        self._streams.append(stream)
        future.add_done_callback(lambda done: self._stream_ended(stream, path, done))

    def _open_later(self, stream: _Stream, path: str) -> None:
        """Open a stream again that was refused: the grant of a role comes into force some minutes after it is made."""
        _log.warning("waiting for the right to pull", subscription=path, wait_s=LONGEST_WAIT_S)
        self._stop_asked.wait(LONGEST_WAIT_S)
        with self._lifecycle:
            if self._stop_reason is None:
                self._streams.remove(stream)
                self._follow(self._control())

    def _sources(self) -> Iterator[_Source]:
        for name in self._options.queues:
            queue = self._topology.by_name[name]
            for number, tier in enumerate(queue.tiers):
                yield _Source(queue, tier.subscription, name, number)
        if self._options.dead_letters:
            for queue in self._topology.queues:
                yield _Source(queue, queue.dead_letter_subscription, DEAD_LETTER_LANE)

    def _path(self, source: _Source) -> str:
        return str(self._subscriber.subscription_path(self._settings.google_cloud_project, source.subscription))

    def _stream_ended(self, stream: _Stream, path: str, future: Any) -> None:
        if self._stop_asked.is_set():
            return
        if future.cancelled():  # its queue was paused, and what ran has ended
            with self._lifecycle:
                self._streams.remove(stream)
            return
        refused = isinstance(future.exception(), google_errors.Forbidden)
        if refused and time.monotonic() < self._patient_until_s:
            stream.refused = True
            threading.Thread(target=self._open_later, args=(stream, path), name="reopen", daemon=True).start()
            return
        error = future.exception()
        if isinstance(error, google_errors.NotFound):
            error = ConfigError(f"there is no subscription {path}: bring the stack up (invoke up or deploy)")
        elif isinstance(error, google_errors.Forbidden):
            error = ConfigError(f"this account may not pull from {path}: it needs roles/pubsub.subscriber there")
        _log.error("a stream ended", subscription=path, error=str(error))
        self.fail(error, reason="a stream ended")

    def _resume(self, delivery: Delivery, *, admitted: bool) -> None:
        self._threads.put(
            delivery.queue,
            lambda: self._attempts.process(delivery, admitted=admitted),
            give_back=lambda: self._attempts.return_unstarted(delivery),
        )

    def _stop(self, reason: str) -> None:
        grace_s = self._settings.worker_grace_s
        deadline_s = time.monotonic() + grace_s
        _log.info("worker stopping", worker=self._name, reason=reason, running=self._threads.running, grace_s=grace_s)
        self._control.stop()
        with self._lifecycle:
            streams = list(self._streams)
        for stream in streams:
            stream.scheduler.hold()
        self._cut(streams)
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
        self._close(streams)
        _log.info("worker stopped", worker=self._name)
        self._ended.set()

    def _wait_idle(self, until_s: float) -> None:
        """Wait until nothing runs, the time has come, or a second signal ends the grace period."""
        while not self._giving_up.is_set() and time.monotonic() < until_s:
            if self._threads.wait_idle(min(0.1, max(0.0, until_s - time.monotonic()))):
                return

    def _cut(self, streams: Sequence[_Stream]) -> None:
        """End streams, those that are being closed already too."""
        for stream in streams:
            half_close(stream.future)
        self._giving_up.wait(HALF_CLOSE_S)
        for stream in streams:
            stream.future.cancel()

    def _close(self, streams: Sequence[_Stream]) -> None:
        self._heartbeat.stop()
        self._limit_keeper.stop()
        self._executor.stop()
        if self._timers is not None:
            self._timers.stop()
        self._publisher.close()  # what was handed over is acked once its copy is published
        self._journal.close()
        for stream in streams:
            stream.scheduler.release()
        for stream in streams:
            with contextlib.suppress(Exception):  # what ended the stream has been logged already
                stream.future.result(timeout=2)
        self._subscriber.close()
        self._hooks.close()
        if failed := hooks.failures():
            _log.warning("hooks have failed", times=dict(failed))
