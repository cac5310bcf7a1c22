"""Submitting unique tasks: the key first, then the message, then the record by which the key is known to be taken."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from poolhouse.api.problems import Problem, unavailable
from poolhouse.api.services import Services
from poolhouse.pipeline.errors import PoolhouseError, PreconditionFailed
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.unique import Unique
from poolhouse.pipeline.tasks.unique_keys import ABANDONED, POLL_S, SUBMIT_TIME, Held, Pending, UniqueClaim, UniqueKeys


class TaskExists(PoolhouseError):
    """Another task has the key, and is the answer."""

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} is there already")
        self.task_id = task_id


async def submit(task: TaskMessage, unique: Unique, services: Services) -> str:
    """Submit a task if no other has its key; returns the message's id, empty where a timer has it.

    Raises:
        TaskExists: another has the key, by `return`.
        Problem: 409, another has it, by `reject`.
        ServiceUnavailable: the queue or the bucket is down.
    """
    keys, claim = _claim(task, unique, services)
    generation = await _take(keys, claim, unique, services)
    try:
        message_id = await services.send(await services.hooks.submitting_async(task), now=services.clock())
        await _record(task, services)
    except (PoolhouseError, Problem):
        await services.threads.run(keys.release, claim, generation)
        raise
    return message_id


async def replaying(task: TaskMessage, unique: Unique, services: Services) -> None:
    """Take the key for a dead task that gets another life. Raises as `submit`, and never `TaskExists`."""
    keys, claim = _claim(task, unique, services)
    try:
        await _take(keys, claim.model_copy(update={"replaying": True}), unique, services)
    except TaskExists as error:
        raise _taken(error.task_id) from None


def _claim(task: TaskMessage, unique: Unique, services: Services) -> tuple[UniqueKeys, UniqueClaim]:
    now = services.clock()
    claim = UniqueClaim(
        task_type=task.task_type,
        by=services.registry[task.task_type].unique_by(task.payload, unique),
        task_id=task.task_id,
        submitted_at=now,
        submitting_until=now + timedelta(seconds=services.settings.publish_timeout_s) + SUBMIT_TIME,
    )
    return UniqueKeys(services.store, longest_wait=services.topology.longest_wait), claim


async def _take(keys: UniqueKeys, claim: UniqueClaim, unique: Unique, services: Services) -> int:
    """The generation of the key's object, which is ours."""
    while True:
        answer = await services.threads.run(keys.take, claim, unique, now=services.clock())
        if not isinstance(answer, Pending):
            break
        await asyncio.sleep(POLL_S)  # another process may be the one to wait for: there is no event
    if not isinstance(answer, Held):
        return answer.generation
    if unique.on_conflict == "return":
        raise TaskExists(answer.task_id)
    raise _taken(answer.task_id)


def _taken(task_id: str) -> Problem:
    return Problem(
        409,
        f"task {task_id} is the same and has not ended",
        detail=f"Tasks of this key are unique. GET /tasks/{task_id} shows the one that is there.",
        existing_task_id=task_id,
    )


async def _record(task: TaskMessage, services: Services) -> None:
    """Write the record that says that the task was submitted."""
    record = transitions.fresh(task, now=services.clock())
    try:
        await services.threads.run(services.records.submit, record)
    except PreconditionFailed:
        # The same call has written it before; or this took so long that another took the key.
        stored = await services.threads.run(services.records.read, task.task_id)
        if stored is not None and (stored.record.reason or "").startswith(ABANDONED):
            raise unavailable("submitting the task took too long, and another took its key") from None
