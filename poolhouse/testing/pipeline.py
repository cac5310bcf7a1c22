"""The words of a test of a pipeline: what the fixture `pipeline` gives, the same on every level."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, overload

from pydantic import BaseModel

from poolhouse.pipeline import names
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging import object_events
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ObjectInfo, ObjectStore
from poolhouse.pipeline.tasks.dead_letter import DeadLetterSummary
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.delays import run_time
from poolhouse.testing import spans
from poolhouse.testing.crash_points import Turn
from poolhouse.testing.faults import Faults
from poolhouse.testing.spans import Span
from poolhouse.testing.surroundings import Submission
from poolhouse.testing.tasks import R, Task, handler_of, returns_of
from poolhouse.worker.context import TaskContext
from poolhouse.worker.registry import Handler, Registry


class Clock(Protocol):
    """The one clock of a pipeline under test."""

    def now(self) -> datetime:
        """The time, in UTC."""

    def advance(self, span: Span) -> None:
        """Move time forward: what comes due happens, in order, each at its own moment. Tasks run.

        Leases, backoffs, delays, schedules, limits, time limits and `ctx.now()` all go by this clock.

        Args:
            span: such as `7 days`, `90 s`, a number of seconds, or a timedelta.
        """


class Pipeline(abc.ABC):
    """A pipeline of one test: its queues and its bucket are empty when the test begins."""

    #: What calls may meet; see `poolhouse.testing.faults`.
    faults: Faults
    clock: Clock

    def __init__(self, settings: Settings, *, registry: Registry, store: ObjectStore, task_ids: TaskIds) -> None:
        self.settings = settings
        self.registry = registry
        #: The bucket, as the test itself sees it: no fault strikes here.
        self.store = store
        self.task_ids = task_ids

    # --- submitting and running

    @overload
    def submit(
        self,
        task: Callable[[Any, TaskContext], R],
        payload: BaseModel | Mapping[str, Any],
        /,
        *,
        queue: str | None = None,
        delay: Span | None = None,
        run_at: datetime | None = None,
    ) -> Task[R]: ...
    @overload
    def submit(
        self,
        task: str,
        payload: BaseModel | Mapping[str, Any],
        /,
        *,
        queue: str | None = None,
        delay: Span | None = None,
        run_at: datetime | None = None,
    ) -> Task[Any]: ...
    @overload
    def submit(self, task: Callable[[Any, TaskContext], R], /, **fields: Any) -> Task[R]: ...
    @overload
    def submit(self, task: str, /, **fields: Any) -> Task[Any]: ...

    def submit(self, task: Any, payload: Any = None, /, **fields: Any) -> Task[Any]:
        """Submit a task, the way that clients do on this level.

        Args:
            task: the handler, or the name of its task type.
            payload: the payload; the options `queue`, `delay` and `run_at` may follow.
            **fields: without `payload`: its fields.

        Raises:
            pydantic.ValidationError: the payload does not fit.
            LookupError: there is no such task type or queue.
            poolhouse.pipeline.errors.ServiceUnavailable: the queue, or the bucket, did not take it.
        """
        handler = handler_of(task, self.registry)
        options: dict[str, Any] = {}
        if payload is None:
            payload = fields
        else:
            options = {name: fields.pop(name) for name in ("queue", "delay", "run_at") if name in fields}
            if fields:
                raise TypeError(f"submit takes a payload, or its fields: both {payload!r} and {', '.join(fields)}")
        queue = options.get("queue") or handler.queue or self.settings.topology.default_queue.name
        self.queue(queue)
        not_before = None
        if options.get("delay") is not None or options.get("run_at") is not None:
            delay = options.get("delay")
            delay_s = None if delay is None else spans.seconds(delay)
            not_before = run_time(delay_s=delay_s, run_at=options.get("run_at"), now=self.clock.now())
        task_id = self._submit(handler, handler.payload_of(payload), queue=queue, not_before=not_before)
        return Task(task_id, handler.task_type, self.store, None if isinstance(task, str) else returns_of(handler))

    @abc.abstractmethod
    def _submit(self, handler: Handler, payload: dict[str, Any], *, queue: str, not_before: datetime | None) -> str: ...

    def upload(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> tuple[Task[Any], ...]:
        """Upload a file, `uploads/NAME`, and tell the queues of it, as storage does; return the tasks of its triggers.

        Raises:
            poolhouse.pipeline.errors.InvalidName: no file has such a name.
            poolhouse.pipeline.errors.ServiceUnavailable: the bucket, or a queue, did not take it.
        """
        info = self._upload(names.upload(name), data, content_type)
        event = {
            "eventType": object_events.FINALIZED,
            "bucketId": self.settings.bucket_name,
            "objectId": info.name,
            "objectGeneration": str(info.generation),
        }
        tasks = object_events.tasks_of(
            event, self.settings.topology, bucket=self.settings.bucket_name, task_ids=self.task_ids
        )
        self._uploaded(event, tasks)
        return tuple(Task(each.task_id, each.task_type, self.store) for each in tasks)

    @abc.abstractmethod
    def _upload(self, name: str, data: bytes, content_type: str) -> ObjectInfo: ...

    @abc.abstractmethod
    def _uploaded(self, event: Mapping[str, str], tasks: Sequence[TaskMessage]) -> None:
        """Note the tasks that an event starts, and deliver it where nothing else does."""

    @abc.abstractmethod
    def run_until_idle(self, limit: Span = "1 day") -> None:
        """Let the workers work until nothing is left to do now.

        Waits that are the machinery's own (a queue's backoff, the lease of a worker that died) are gone through, and
        move the clock. Those that were requested (a delay, `Retry(after_s=…)`, a rate, a schedule) are not:
        `clock.advance` moves on to them.

        Raises:
            AssertionError: there is still work after `limit`.
        """

    @abc.abstractmethod
    def kill_worker(self, at: str) -> AbstractContextManager[None]:
        """Let the worker die, once, at a step of its protocol; another one takes its place at once.

        Args:
            at: `before-` or `after-` and a step: pull, claim, handler, result, record, follow-ups, dead-letter, ack.
                Of a step that the task doesn't have, the next moment counts.

        Raises:
            ValueError: there is no such step.
            AssertionError: no worker came there before the block ended.
        """

    @abc.abstractmethod
    def crash_points(self, *, results: bool = True) -> Iterator[Turn]:
        """Run the body of a loop once undisturbed, then once for each point where a worker can die or a call can fail.

            for turn in pipeline.crash_points():
                with turn:
                    task = pipeline.submit(charge, order="A-1")
                    pipeline.run_until_idle()
                    assert ledger.of("A-1") == 100

        Each turn begins with an empty pipeline; a turn's block ends with `run_until_idle`. What the tasks came to, and
        what handlers have written to the bucket, must be what it was in the undisturbed turn; times in ISO 8601, and
        ids of tasks and groups, may differ.

        Args:
            results: whether results count; not where they tell, say, the number of the attempt.

        Raises:
            AssertionError: some turns failed, or came to something else; the text lists the points.
        """

    @property
    @abc.abstractmethod
    def api_url(self) -> str:
        """Where the pipeline's HTTP API is: for tests of an application that calls it."""

    @abc.abstractmethod
    def timeline(self) -> str:
        """What has happened, a line each."""

    @property
    @abc.abstractmethod
    def submitted(self) -> Sequence[Submission]:
        """Every task that was submitted so far, follow-ups too, in order."""

    # --- looking

    def queue(self, name: str) -> Queue:
        """A queue of pipeline.toml. Raises `LookupError`, which names those that there are."""
        queues = self.settings.topology.by_name
        if name not in queues:
            raise LookupError(f"there is no queue {name} (queues: {', '.join(queues)})")
        return queues[name]

    def follow_ups(self, task: Task[Any]) -> tuple[Task[Any], ...]:
        """The tasks that a task has submitted, once it has succeeded; then those of its groups.

        Of a group: its members in their order, and what has followed them so far. The levels `embedded` and
        `containers` see a member once a worker has met it.
        """
        record = task.record
        groups = {group.group_id for group in record.groups or ()}
        # The ids of a group's tasks are in the order of their places.
        of_groups = sorted(
            (each for each in self.submitted if groups and self.task_ids.place_of(each.task_id)[0] in groups),
            key=lambda each: each.task_id,
        )
        made = [(each.task_id, each.task_type) for each in record.follow_ups]
        made += [(each.task_id, each.task_type) for each in of_groups]
        return tuple(Task(task_id, task_type, self.store) for task_id, task_type in made)

    def assert_submitted(self, task: Any, /, *, times: int | None = None, **fields: Any) -> tuple[Task[Any], ...]:
        """Assert that tasks of this type were submitted whose payloads have these fields; return them.

        Args:
            task: the handler, or the name of a task type.
            times: how many; None: at least one.
            **fields: of the payload; others may have any value.
        """
        task_type = task if isinstance(task, str) else handler_of(task, self.registry).task_type
        missing = object()
        found = [
            each
            for each in self.submitted
            if each.task_type == task_type
            and all(each.payload.get(name, missing) == value for name, value in fields.items())
        ]
        wanted = f"{task_type}({', '.join(f'{name}={value!r}' for name, value in fields.items())})"
        there = "\n".join(f"  {each.task_type} {dict(each.payload)}" for each in self.submitted) or "  nothing"
        enough = bool(found) if times is None else len(found) == times
        expected = "at least once" if times is None else f"{times} times"
        assert enough, f"{wanted} was submitted {len(found)} times, not {expected}. Submitted were:\n{there}"
        return tuple(Task(each.task_id, each.task_type, self.store) for each in found)

    def assert_dead_lettered(self, task: Task[Any] | None = None, *, reason: str = "") -> DeadLetterSummary:
        """Assert that there is a dead letter; return the newest that fits.

        Args:
            task: whose; None: any.
            reason: a part of its reason.
        """
        letters = self._letters()
        found = [
            letter for letter in letters if reason in letter.reason and (task is None or letter.task_id == task.task_id)
        ]
        there = "\n".join(f"  {each.task_type} {each.task_id}: {each.reason}" for each in letters)
        of = "" if task is None else f" of task {task.task_id}"
        assert found, (
            f"there is no dead letter{of}{f' whose reason has {reason!r}' if reason else ''}. "
            f"There are:\n{there or '  none'}"
        )
        return max(found, key=lambda letter: letter.died_at)

    def _letters(self) -> tuple[DeadLetterSummary, ...]:
        box = DeadLetterStore(self.store, queues=tuple(self.settings.topology.by_name), task_ids=self.task_ids)
        return box.page(page_size=1000).dead_letters
