"""The context of a task that runs in the worker's own process, as its handler sees it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

import structlog
from pydantic import BaseModel

from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import TaskType, name_of
from poolhouse.pipeline import json_values
from poolhouse.pipeline.groups.group import Group, WaitFor
from poolhouse.pipeline.groups.results import MemberResult
from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks import large_values
from poolhouse.pipeline.tasks.links import Links
from poolhouse.pipeline.tasks.records import FollowUp, Progress
from poolhouse.pipeline.timing.delays import run_time
from poolhouse.worker.context import Logger
from poolhouse.worker.group_calls import group_of, results_of
from poolhouse.worker.plans import follow_ups
from poolhouse.worker.runtime.running_task import RunningTask
from poolhouse.worker.runtime.services import Services
from poolhouse.worker.runtime.step_ledger import StepLedger
from poolhouse.worker.steps import Steps, cursor_value, refuse_inside

#: Payloads of all follow-up tasks of a task, in bytes: its record, and the worker's memory, hold them until they are
#: published.
MAX_FOLLOW_UP_BYTES = 32_000_000


class Context:
    """The `poolhouse.worker.context.TaskContext` of a task that runs in this process."""

    def __init__(self, running: RunningTask, services: Services) -> None:
        self._running = running
        self._services = services
        self._store = services.store
        self._registry = services.registry
        self._topology = services.topology
        self._task_ids = services.task_ids
        self._now = services.now
        self._log: Logger | None = None
        self._payloads = services.topology.payloads
        self.follow_ups: list[FollowUp] = []
        self.groups: list[Group] = []
        #: Payloads of follow-ups that are too large for a message, as JSON, by the follow-up's id.
        self.large_payloads: dict[str, bytes] = {}
        self._follow_up_bytes = 0

    @property
    def task_id(self) -> str:
        return self._running.record.task_id

    @property
    def task_type(self) -> str:
        return self._running.record.task_type

    @property
    def queue(self) -> str:
        return self._running.record.queue

    @property
    def attempt(self) -> int:
        return self._running.record.attempts[-1].number

    @property
    def submitted_at(self) -> datetime:
        return self._running.record.submitted_at

    @property
    def store(self) -> ObjectStore:
        return self._store

    @property
    def log(self) -> Logger:
        if self._log is None:
            self._log = structlog.get_logger().bind(**self.fields)
        return self._log

    @property
    def fields(self) -> dict[str, Any]:
        """What its log lines carry."""
        record = self._running.record
        return {
            "task_id": record.task_id,
            "task_type": record.task_type,
            "queue": record.queue,
            "attempt": record.attempts[-1].number,
            **self.trace_fields,
        }

    @cached_property
    def trace_fields(self) -> dict[str, str]:
        """The fields by which its log lines are found with its trace."""
        return trace.log_fields(self._running.trace, project=self._services.project)

    def now(self) -> datetime:
        return self._now()

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        self._running.set_progress(Progress(done=done, total=total, note=note, at=self._now()))

    def checkpoint(self) -> None:
        interruption = self._running.interruption
        if interruption is not None:
            self._running.told = True
            raise interruption

    @cached_property
    def steps(self) -> Steps:
        """The steps of this attempt."""
        return Steps(StepLedger(self._running, self._services), checkpoint=self.checkpoint, now=self._now)

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        return self.steps.run(name, function, args, named)

    @property
    def cursor(self) -> Any:
        return copy.deepcopy(self._running.cursor)

    @cursor.setter
    def cursor(self, value: Any) -> None:
        self._running.set_cursor(cursor_value(value))

    def submit(
        self,
        task_type: str | TaskType[Any, Any] | TaskRef[Any],
        payload: BaseModel | Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
    ) -> str:
        refuse_inside("ctx.submit")
        if isinstance(task_type, TaskRef):
            return self.submit_linked(task_type.body())
        return self._submit(
            name_of(task_type),
            {} if payload is None else payload,
            links=Links(parent_id=self.task_id),
            queue=queue,
            delay_s=delay_s,
            run_at=run_at,
        )

    def submit_linked(self, body: Mapping[str, Any]) -> str:
        """Submit a follow-up with what follows it, as `TaskRef.body` has them. Raises as `submit`."""
        chain, failure = follow_ups(body, self._registry, self._topology)
        links = Links(parent_id=self.task_id, then=chain or None, on_failure=failure)
        return self._submit(body["task_type"], body["payload"], links=links, queue=body.get("queue"))

    def _submit(
        self,
        task_type: str,
        payload: BaseModel | Mapping[str, Any],
        *,
        links: Links,
        queue: str | None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
    ) -> str:
        self._check_going_on()
        handler = self._registry[task_type]
        now = self._now()
        if handler.unique is not None and handler.unique.debounce_s is not None:
            if delay_s is not None or run_at is not None:
                raise ValueError(f"{task_type} waits for debounce_s of its unique=: give no other time")
            delay_s = handler.unique.debounce_s
        not_before = run_time(delay_s=delay_s, run_at=run_at, now=now)
        encoded = json_values.encode(handler.payload_of(payload), what="the payload")
        queue = queue or handler.queue_in(self._topology)
        if queue not in self._topology.by_name:
            raise KeyError(f"there is no queue {queue}")
        if len(encoded) > self._payloads.max_bytes:
            raise ValueError(
                f"the payload of the follow-up {task_type} has {len(encoded):,} bytes, and may have "
                f"{self._payloads.max_bytes:,} (payloads.max_bytes in pipeline.toml)"
            )
        if self._follow_up_bytes + len(encoded) > max(MAX_FOLLOW_UP_BYTES, self._payloads.max_bytes):
            raise ValueError(
                f"the follow-ups of one task hold more than {max(MAX_FOLLOW_UP_BYTES, self._payloads.max_bytes):,} "
                "bytes together: "
                "write what is large to a file, and name the file in the payloads"
            )
        self._follow_up_bytes += len(encoded)
        # Derived from the parent and the position: an attempt that runs again names the same tasks.
        task_id = self._task_ids.derive(f"follow-up {self.task_id} {len(self.follow_ups)}", self.submitted_at)
        large = len(encoded) > self._payloads.inline_bytes
        if large:
            self.large_payloads[task_id] = encoded
        self.follow_ups.append(
            FollowUp(
                task_id=task_id,
                task_type=task_type,
                queue=queue,
                payload={} if large else json.loads(encoded),
                not_before=not_before if not_before > now else None,
                links=links,
                payload_object=large_values.payload_object(task_id, encoded) if large else None,
            )
        )
        return task_id

    def group(
        self,
        members: Iterable[TaskRef[Any]],
        *,
        then: TaskRef[Any] | None = None,
        on_failure: TaskRef[Any] | None = None,
        wait_for: WaitFor = "succeeded",
    ) -> str:
        refuse_inside("ctx.group")
        written = group_of(
            self.new_group(),
            members,
            then=then,
            on_failure=on_failure,
            wait_for=wait_for,
            registry=self._registry,
            topology=self._topology,
            store=self._store,
        )
        self.add_group(written)
        return written.group_id

    def new_group(self) -> Group:
        """The next group of this attempt, still without members: an attempt that runs again gives it the same id."""
        self._check_going_on()
        if not self._running.recorded:
            raise ValueError(
                f"{self.task_type} keeps no record (record=False), and a group is kept there until its members are "
                "published"
            )
        seed = f"group {self.task_id} {len(self.groups)}"
        return Group(
            group_id=self._task_ids.derive_group(seed, self.submitted_at),
            created_at=self.submitted_at,
            parent_id=self.task_id,
            written_by=self.attempt,
        )

    def add_group(self, group: Group) -> None:
        """Publish a group, whose members are kept by now, once the task has succeeded."""
        self._check_going_on()
        self.groups.append(group)

    def group_results(self, task_type: TaskType[Any, Any] | None = None) -> Iterator[MemberResult[Any]]:
        return results_of(self._running.record.group_id, task_type, store=self._store, task_ids=self._task_ids)

    def _check_going_on(self) -> None:
        if self._running.ended:
            raise RuntimeError("the attempt has ended: nothing can be submitted for it any more")
