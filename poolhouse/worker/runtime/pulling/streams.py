"""The streams of a worker: opened, closed while their queue is paused, opened again, and ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from google.api_core import exceptions as google_errors
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message

from poolhouse.pipeline.errors import ConfigError
from poolhouse.worker.runtime.execution.thread_pool import LaneScheduler, TaskThreads
from poolhouse.worker.runtime.health.streams import is_pulling
from poolhouse.worker.runtime.pulling.half_close import half_close
from poolhouse.worker.runtime.pulling.intake import Intake
from poolhouse.worker.runtime.pulling.sources import Source
from poolhouse.worker.runtime.retrying import LONGEST_WAIT_S

#: The client library gives a lease up after this time; ours end when the task does.
MAX_LEASE_S = 30 * 86_400.0
#: How long after its start a worker that is refused a subscription tries again, in seconds: the grant of a role may
#: take so long to come into force (IAM, Access change propagation).
GRANT_S = 600.0
#: Time that a server has to take note of the end of a stream before it is cut, in seconds.
HALF_CLOSE_S = 0.2
#: Longest wait for a stream that was cut, in seconds.
END_S = 2.0

_log = structlog.get_logger(__name__)


@dataclass
class _Stream:
    """An open streaming pull."""

    source: Source
    future: Any
    scheduler: LaneScheduler
    #: Whether it is being closed because its queue is paused; the tasks that run keep their leases through it.
    paused: bool = False
    #: Whether it was refused, and will be opened again.
    refused: bool = False


class Streams:
    """One stream for each subscription that is pulled from. Thread-safe."""

    def __init__(
        self,
        subscriber: pubsub_v1.SubscriberClient,
        sources: Sequence[Source],
        *,
        worker_name: str,
        threads: TaskThreads,
        intake: Intake,
        stopping: threading.Event,
        giving_up: threading.Event,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Open none before `follow`.

        Args:
            subscriber: the client library's.
            sources: the subscriptions.
            worker_name: for people.
            threads: run what comes.
            intake: what to do with it.
            stopping: set once the worker takes nothing more; no stream is opened from then on.
            giving_up: set when its waits must end.
            on_failure: called with what ended a stream for good.
        """
        self._subscriber = subscriber
        self._sources = tuple(sources)
        self._worker_name = worker_name
        self._threads = threads
        self._intake = intake
        self._stopping = stopping
        self._giving_up = giving_up
        self._on_failure = on_failure
        #: Reentrant: a stream may end while it is being opened.
        self._lock = threading.RLock()
        self._streams: list[_Stream] = []
        self._paused: Collection[str] = ()
        self._patient_until_s = time.monotonic() + GRANT_S

    def closed(self, *, paused: Collection[str]) -> tuple[str, ...]:
        """The subscriptions that messages should come from, and can't. Takes no lock.

        Args:
            paused: the queues that are paused.
        """
        pulled = {
            stream.source.subscription
            for stream in tuple(self._streams)
            if not stream.paused and (stream.refused or is_pulling(stream.future))
        }
        wanted = (source.subscription for source in self._sources if source.pulled_while(paused))
        return tuple(name for name in wanted if name not in pulled)

    def follow(self, paused: Collection[str]) -> None:
        """Open and close the streams as the queues are resumed and paused.

        Args:
            paused: the queues that are paused now.
        """
        with self._lock:
            self._paused = paused
            if self._stopping.is_set():
                return
            for source in self._sources:
                stream = next((each for each in self._streams if each.source == source and not each.paused), None)
                wanted = source.pulled_while(paused)
                if stream is not None and not wanted:
                    stream.paused = True
                    stream.scheduler.hold()
                    threading.Thread(target=self._close_paused, args=(stream,), name="pause", daemon=True).start()
                elif stream is None and wanted:
                    self._open(source)

    def stop(self) -> None:
        """Pull no more; what has come is still there. `stopping` is set."""
        with self._lock:
            streams = tuple(self._streams)
        for stream in streams:
            stream.scheduler.hold()
        self._cut(streams)

    def close(self) -> None:
        """Let the client library end, after `stop`: nothing is in hand any more."""
        with self._lock:
            streams = tuple(self._streams)
        for stream in streams:
            stream.scheduler.release()
        for stream in streams:
            with contextlib.suppress(BaseException):  # what ended the stream has been logged already
                stream.future.result(timeout=END_S)

    def _open(self, source: Source) -> None:
        queue, intake = source.queue, self._intake
        flow_control = pubsub_v1.types.FlowControl(
            max_messages=intake.held(source),
            max_lease_duration=MAX_LEASE_S,
            min_duration_per_lease_extension=queue.ack_deadline_s,
            max_duration_per_lease_extension=queue.ack_deadline_s,
        )

        def receive(message: Message) -> None:
            intake.process(intake.delivery(message, source, on_end=scheduler.ended), source)

        def give_back(message: Message) -> None:
            intake.give_back(intake.delivery(message, source, on_end=scheduler.ended), source)

        scheduler = LaneScheduler(self._threads, source.lane, give_back=give_back, tier=source.tier)
        future = self._subscriber.subscribe(source.path, receive, flow_control=flow_control, scheduler=scheduler)
        stream = _Stream(source, future, scheduler)
        self._streams.append(stream)
        future.add_done_callback(lambda done: self._ended(stream, done))

    def _open_later(self, stream: _Stream) -> None:
        """Open a stream again that was refused: the grant of a role comes into force some minutes after it is made."""
        _log.warning("waiting for the right to pull", subscription=stream.source.path, wait_s=LONGEST_WAIT_S)
        self._stopping.wait(LONGEST_WAIT_S)
        with self._lock:
            if not self._stopping.is_set():
                self._streams.remove(stream)
                self.follow(self._paused)

    def _close_paused(self, stream: _Stream) -> None:
        """Pull no more, give back what has not started, and let what runs go on."""
        self._cut([stream])
        self._intake.withdraw(stream.source)
        stream.scheduler.release_when_empty()
        queue = stream.source.queue.name
        _log.info("queue paused", worker=self._worker_name, queue=queue, running=self._threads.running)

    def _ended(self, stream: _Stream, future: Any) -> None:
        if self._stopping.is_set():
            return
        if future.cancelled():  # its queue was paused, and what ran has ended
            with self._lock:
                self._streams.remove(stream)
            return
        refused = isinstance(future.exception(), google_errors.Forbidden)
        if refused and time.monotonic() < self._patient_until_s:
            stream.refused = True
            threading.Thread(target=self._open_later, args=(stream,), name="reopen", daemon=True).start()
            return
        error, path = future.exception(), stream.source.path
        if isinstance(error, google_errors.NotFound):
            error = ConfigError(f"there is no subscription {path}: bring the stack up (invoke up or deploy)")
        elif isinstance(error, google_errors.Forbidden):
            error = ConfigError(f"this account may not pull from {path}: it needs roles/pubsub.subscriber there")
        _log.error("a stream ended", subscription=path, error=str(error))
        self._on_failure(error)

    def _cut(self, streams: Sequence[_Stream]) -> None:
        """End streams, those that are being closed already too."""
        for stream in streams:
            half_close(stream.future)
        self._giving_up.wait(HALF_CLOSE_S)
        for stream in streams:
            stream.future.cancel()
