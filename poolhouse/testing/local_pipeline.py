"""A pipeline in the test's own process: the kit's engine, on a clock that only the test moves."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from poolhouse.pipeline import hooks, names
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.control.control_store import parse
from poolhouse.pipeline.control.state import NOTHING
from poolhouse.pipeline.messaging import object_events
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.messaging.pubsub_transport import Message
from poolhouse.pipeline.store import ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.schedules import Schedules, problem_of, queue_of
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.testing import spans
from poolhouse.testing.broker import Broker, Emulation, Pulled
from poolhouse.testing.calls import Calls, CrashPoint, Kill, WorkerDied, WorkerLife, crash_points
from poolhouse.testing.crash_points import Effects, Turn, effects_of, turns
from poolhouse.testing.faults import Faults
from poolhouse.testing.one_worker import OneWorker
from poolhouse.testing.pipeline import Pipeline
from poolhouse.testing.spans import Span
from poolhouse.testing.surroundings import (
    SeenStore,
    SeenTopics,
    Submission,
    submission_of,
    submission_of_task,
    submission_of_timer,
)
from poolhouse.worker.registry import Handler, Registry
from poolhouse.worker.scheduler import SchedulePlanner

#: Deliveries in one `run_until_idle`; more are taken for a loop.
MOST_DELIVERIES = 100_000


class Api(Protocol):
    """The HTTP API of the pipeline that runs now; started at the first need."""

    @property
    def url(self) -> str: ...

    def submit(self, body: dict[str, Any]) -> str:
        """Submit a task; returns its id."""


class LocalPipeline(Pipeline):
    """The pipeline of the levels `inline` and `in-process`."""

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry,
        task_ids: TaskIds,
        broker: Broker,
        emulation: Emulation,
        new_store: Callable[[Callable[[], datetime]], ObjectStore],
        api: Api,
        over_http: bool,
    ) -> None:
        """Empty the queues, and begin.

        Args:
            new_store: makes an empty bucket; it is given the clock.
            api: serves this pipeline.
            over_http: whether `submit` calls the API, or publishes by itself.
        """
        self._broker = broker
        self._emulation = emulation
        self._new_store = new_store
        self._api = api
        self._over_http = over_http
        self._sources = [
            (tier.subscription, queue.name, False) for queue in settings.topology.queues for tier in queue.tiers
        ]
        self._sources += [(queue.dead_letter_subscription, queue.name, True) for queue in settings.topology.queues]
        self._queue_of_topic = {tier.topic: queue.name for queue in settings.topology.queues for tier in queue.tiers}
        self.clock = _Clock(self)
        self._hooks = registry.hooks(hooks.load(settings.topology.hooks))
        self._worker: OneWorker | None = None
        super().__init__(settings, registry=registry, store=self._begin(settings, task_ids), task_ids=task_ids)

    def _begin(self, settings: Settings, task_ids: TaskIds, crash: CrashPoint | None = None) -> ObjectStore:
        """Empty everything; returns the bucket."""
        self.close()
        self._emulation.start(settings.pipeline_file)
        bucket = self._new_store(self.clock.now)
        bucket.put(names.TASK_ID_KEY, task_ids.key, content_type="application/octet-stream")
        self._bucket = bucket
        self._calls = Calls(now=self.clock.now, crash=crash)
        self.faults = Faults(self._calls, duplicate=self._add_duplicates)
        self._submitted: dict[str, Submission] = {}
        self._timer_names: set[str] = set()
        self._control = NOTHING
        #: Messages whose wait was requested, and until when.
        self._asked_waits: dict[str, float] = {}
        self._planner: SchedulePlanner | None = None
        self._schedules_wake_at: datetime | None = None
        self._workers = 0
        self._running = False
        self.api_store = self._seen_store(None)
        self.api_topics = self._seen_topics(None)
        #: Publishes for the API's part, the timers and the schedules.
        self._publisher = Publisher(settings, topics=self.api_topics)
        return bucket

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    # --- the words

    def _submit(self, handler: Handler, payload: dict[str, Any], *, queue: str, not_before: datetime | None) -> str:
        if self._over_http or handler.unique is not None:  # whose rule the API applies
            body: dict[str, Any] = {"task_type": handler.task_type, "payload": payload, "queue": queue}
            if not_before is not None:
                body["run_at"] = not_before.isoformat()
            task_id = self._api.submit(body)
        else:
            now = self.clock.now()
            task = TaskMessage(
                task_id=self.task_ids.new(now),
                task_type=handler.task_type,
                submitted_at=now,
                queue=queue,
                payload=payload,
                not_before=not_before,
            )
            task = task.by_reference(above_bytes=self.settings.topology.payloads.inline_bytes)
            task = self._hooks.submitting(task)
            Timers(self.api_store).send(task, self._publisher, now=now).result()
            if not_before is not None and handler.record:
                RecordStore(self.api_store).submit(transitions.fresh(task, now=now))
            task_id = task.task_id
        self._calls.tell(f"submitted: {handler.task_type} {task_id} to {queue}")
        return task_id

    def _upload(self, name: str, data: bytes, content_type: str) -> ObjectInfo:
        return self.api_store.upload(name, io.BytesIO(data), content_type=content_type)

    def _uploaded(self, event: Mapping[str, str], tasks: Sequence[TaskMessage]) -> None:
        for queue, prefixes in object_events.prefixes(self.settings.topology).items():
            if event["objectId"].startswith(prefixes):
                message = Message(b"{}", event)
                self.api_topics.publish(self.queue(queue).topic, [message], timeout_s=10).result()
        for task in tasks:
            self._note(submission_of_task(task))

    def run_until_idle(self, limit: Span = "1 day") -> None:
        end = self._now_s() + spans.seconds(limit)
        while True:
            self._run_ready()
            waits = self._waits(asked=False)
            if not waits:
                return
            assert min(waits) <= end, f"there is still work after {limit}; the timeline:\n{self.timeline()}"
            self._move(min(waits))

    @contextmanager
    def kill_worker(self, at: str) -> Iterator[None]:
        moment, _, step = at.partition("-")
        kill = self._calls.kill = Kill(moment, step)
        try:
            yield
        finally:
            self._calls.kill = None
        assert kill.happened, (
            f"no worker came to {at} in the block: is run_until_idle() called in it, and does the task get there?"
        )

    def crash_points(self, *, results: bool = True) -> Iterator[Turn]:
        def begin(point: CrashPoint | None) -> None:
            self.store = self._begin(self.settings, self.task_ids, point)

        return turns(begin, lambda: self._finish_turn(results=results), lambda: crash_points(self._calls.made))

    @property
    def api_url(self) -> str:
        return self._api.url

    def timeline(self) -> str:
        lines = [f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}  {text}" for at, text in self._calls.timeline]
        point = self._calls.crash
        return "\n".join([*([f"crash point: {point}"] if point else []), *lines]) or "nothing has happened"

    @property
    def submitted(self) -> tuple[Submission, ...]:
        return tuple(self._submitted.values())

    # --- time

    def advance(self, span: Span) -> None:
        """Move the clock; see `poolhouse.testing.pipeline.Clock`."""
        target = self._now_s() + spans.seconds(span)
        self._calls.tell(f"clock.advance({span!r})")
        if self._running:  # a handler moves it: the worker is busy
            self._move(target)
            return
        self._start_schedules()
        while True:
            self._run_ready()
            due = min(self._waits(asked=True), default=target)
            if due >= target:
                break
            self._move(due)
        self._move(target)
        self._run_ready()

    def _now_s(self) -> float:
        return self._emulation.now()

    def _move(self, target: float) -> None:
        """Let time pass, and the worker look after what it holds meanwhile."""
        while True:
            worker = self._worker
            tasks = worker.heartbeat.tasks() if worker is not None else ()
            held = [(pulled.subscription, pulled.ack_id) for pulled in worker.held.values()] if worker else []
            steps = [task.lease_s / 2 for task in tasks]
            if worker is not None and tasks and (look_s := worker.next_look_s) is not None:
                steps.append(max(0.05, look_s - self._now_s()))
            self._emulation.advance(min([target, *(self._now_s() + step for step in steps)]), held=held)
            if worker is not None:
                worker.keep()
            if self._now_s() >= target:
                return

    def _waits(self, *, asked: bool) -> list[float]:
        """When something comes due; requested waits only where that is wanted."""
        held = {pulled.message_id for pulled in self._worker.held.values()} if self._worker else set()
        now_s = self._now_s()
        found = [
            max(now_s, view.next_delivery_at)
            for view in self._emulation.unacked(self._subscriptions)
            if view.message_id not in held and (asked or self._asked_waits.get(view.message_id, 0.0) <= now_s)
        ]
        if asked:
            # Never a moment too early, as floating point has it: the message would wait once more.
            timers = (names.timer_due_at(name) for name in self._timer_names)
            found += [due.timestamp() + 0.001 for due in timers if due is not None]
            if self._schedules_wake_at is not None:
                found.append(self._schedules_wake_at.timestamp())
        if self._worker is not None:
            next_s = self._worker.next_look_s if asked else self._worker.next_try_s
            # Never a moment too early, as above.
            found += [] if next_s is None else [max(now_s, next_s) + 0.001]
        return found

    # --- work

    @property
    def _subscriptions(self) -> list[str]:
        """Those that a worker pulls from: of a paused queue not the tasks, but the dead letters."""
        return [name for name, queue, dead in self._sources if dead or queue not in self._control.paused]

    def _run_ready(self) -> None:
        """Do all that can be done now."""
        for _ in range(MOST_DELIVERIES):
            self._tick_schedules()
            self._fire_timers()
            self._resume_parked()
            ready = self._emulation.ready(self._subscriptions)
            if not ready:
                return
            source = next(source for source in self._sources if source[0] in ready)
            self._deliver(*source)
        raise AssertionError(f"more than {MOST_DELIVERIES:,} deliveries; the timeline ends:\n{self.timeline()[-4000:]}")

    def _deliver(self, subscription: str, queue: str, dead_letter: bool) -> None:
        worker = self._living_worker()

        def work() -> None:
            pulled = self._calls.act(
                "queue.pull",
                lambda: self._pull(subscription),
                target=subscription,
                by=worker.life,
                step=None if dead_letter else "pull",
            )
            if pulled is not None:
                worker.work(pulled, queue=queue, dead_letter=dead_letter)

        self._alive(work)

    def _pull(self, subscription: str) -> Pulled | None:
        pulled = self._broker.pull(subscription)
        if pulled is not None:
            what = pulled.attributes.get("task_id", f"message {pulled.message_id}")
            self._calls.tell(f"delivered by {subscription}: {what} (delivery {pulled.attempt})")
            self._asked_waits.pop(pulled.message_id, None)
        return pulled

    def _resume_parked(self) -> None:
        if self._worker is not None:
            self._alive(self._worker.resume)

    def _alive(self, work: Callable[[], None]) -> None:
        """Work, and bury the worker if it dies."""
        self._running = True
        try:
            work()
        except WorkerDied:
            self.close()
        finally:
            self._running = False

    def _living_worker(self) -> OneWorker:
        if self._worker is None:
            self._workers += 1
            life = self._calls.worker = WorkerLife(f"worker-{self._workers}")
            self._worker = OneWorker(
                life,
                settings=self.settings,
                registry=self.registry,
                broker=self._broker,
                calls=self._calls,
                store=self._seen_store(life),
                topics=self._seen_topics(life),
                task_ids=self.task_ids,
                now=self.clock.now,
                monotonic=self._now_s,
                pause=lambda seconds: self._move(self._now_s() + seconds),
                on_deferred=self._deferred,
                control=lambda: self._control,
            )
        return self._worker

    def _deferred(self, pulled: Pulled, seconds: float) -> None:
        """Note whether the wait was requested: all but those for the lease of another worker."""
        task_id = pulled.attributes.get("task_id", "")
        dead_letter = pulled.subscription.endswith("-dead-letters")
        stored = RecordStore(self._bucket).read(task_id) if task_id else None
        if not dead_letter and (stored is None or stored.record.status is not Status.RUNNING):
            self._asked_waits[pulled.message_id] = self._now_s() + seconds

    def _fire_timers(self) -> None:
        now = self.clock.now()
        if any((due := names.timer_due_at(name)) is not None and due <= now for name in self._timer_names):
            Timers(self.api_store).fire(self._publisher, until=now)
            left = {info.name for info in self._bucket.list(names.TIMERS).objects}
            self._timer_names &= left

    def _start_schedules(self) -> None:
        topology = self.settings.topology
        runnable = tuple(schedule for schedule in topology.schedules if not problem_of(schedule, self.registry))
        if self._planner is not None or not runnable:
            return
        schedules = Schedules(
            self.api_store,
            topology=topology.model_copy(update={"schedules": runnable}),
            task_ids=self.task_ids,
            publisher=self._publisher,
            queue_of=lambda task_type: queue_of(task_type, task_types=self.registry, topology=topology),
            owner="test",
            hooks=self._hooks,
        )
        self._planner = SchedulePlanner(schedules, owner="test")
        self._schedules_wake_at = self._planner.tick(self.clock.now())

    def _tick_schedules(self) -> None:
        now = self.clock.now()
        while self._planner is not None and self._schedules_wake_at is not None and self._schedules_wake_at <= now:
            self._schedules_wake_at = self._planner.tick(now)

    # --- seams

    def _seen_store(self, life: WorkerLife | None) -> SeenStore:
        return SeenStore(self._bucket, self._calls, worker=life, on_timer=self._timer_written, on_control=self._decided)

    def _seen_topics(self, life: WorkerLife | None) -> SeenTopics:
        return SeenTopics(self._broker.topics(), self._calls, worker=life, on_message=self._published)

    def _decided(self, data: bytes) -> None:
        self._control = parse(data)

    def _timer_written(self, name: str, data: bytes) -> None:
        self._timer_names.add(name)
        self._note(submission_of_timer(data))

    def _published(self, topic: str, message: Message) -> None:
        self._calls.tell(f"published to {topic}: {message.attributes.get('task_id', 'a message')}")
        if topic in self._queue_of_topic:
            self._note(submission_of(self._queue_of_topic[topic], message.data))

    def _note(self, submission: Submission | None) -> None:
        if submission is not None:
            self._submitted.setdefault(submission.task_id, submission)

    def _add_duplicates(self, queue: str, times: int) -> None:
        subscription = self.queue(queue).subscription
        self._emulation.add_fault("duplicate", count=times, subscription=self._emulation.path(subscription))

    def _finish_turn(self, *, results: bool) -> Effects:
        self.run_until_idle()
        point = self._calls.crash
        assert point is None or len(self._calls.made) > point.number, (
            "this turn did not get to the point: the body, or the handler, does something else each time"
        )
        return effects_of(self._bucket, self.submitted, task_ids=self.task_ids, results=results)


class _Clock:
    """The emulator's clock, as the pipeline's."""

    def __init__(self, pipeline: LocalPipeline) -> None:
        self._pipeline = pipeline

    def now(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self._pipeline._now_s())

    def advance(self, span: Span) -> None:
        self._pipeline.advance(span)
