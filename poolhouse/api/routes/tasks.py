"""Looking tasks up, reading their results, cancelling them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import IO, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from poolhouse.api.answers import json_answer
from poolhouse.api.listing import Listed, summary, token_after
from poolhouse.api.problems import Problem
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import (
    Conflict,
    GroupNotFound,
    InvalidName,
    ObjectNotFound,
    PreconditionFailed,
    StoreUnavailable,
    TaskNotFound,
)
from poolhouse.pipeline.groups.group import FAILURE, JOIN
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.hooks import TaskInfo
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks import large_values, transitions
from poolhouse.pipeline.tasks.record_store import Stored
from poolhouse.pipeline.tasks.records import PRIVATE, Status, TaskRecord
from poolhouse.pipeline.tasks.task_ids import is_group
from poolhouse.pipeline.timing.timers import Timers

#: Bytes of a result that are sent at a time.
CHUNK_BYTES = 256 * 1024
#: Times that a call reads the record anew because a worker wrote it in between.
REWRITE_TRIES = 10

router = APIRouter(tags=["tasks"], route_class=StrictQueryRoute)


class QueuedTask(BaseModel):
    """A task that waits for a worker."""

    task_id: str
    status: Literal["queued"] = "queued"
    submitted_at: datetime
    follows_group: str | None = Field(
        default=None,
        description="Only of the join and the failure task of a group: the group whose end, or first failure, they "
        "follow. They are published once that has come.",
    )


class TaskSummary(BaseModel):
    """What a listing tells of a task."""

    task_id: str
    task_type: str
    queue: str
    status: Status
    submitted_at: str
    updated_at: str
    attempts: int | None = Field(default=None, description="Attempts begun so far.")
    started_at: str | None = Field(default=None, description="When its newest attempt began.")
    ended_at: str | None = Field(default=None, description="When it ended for good.")
    not_before: str | None = Field(default=None, description="When a scheduled task is due.")
    reason: str | None = Field(default=None, description="Why it is failed, dead or cancelled; or its last error.")


class TaskPage(BaseModel):
    """A page of tasks, the newest first."""

    tasks: list[TaskSummary]
    next_page_token: str | None = Field(description="Send it as page_token for the next page; null on the last.")
    total: int | None = Field(default=None, description="All tasks that are meant, where `count` was asked for.")
    by_status: dict[Status, int] | None = Field(default=None, description="The same by status.")


class CancelAnswer(BaseModel):
    """What became of a cancel call."""

    task_id: str
    status: Status = Field(description="`cancelled`; or `running`, while the worker is being notified.")
    cancel_requested_at: datetime | None = None


async def find(task_id: str, services: Services) -> Stored | datetime:
    """A task's record; or the time it was submitted, where no worker has touched it.

    Raises:
        TaskNotFound: the id was never issued here, or the record has expired.
    """
    try:
        names.check_task_id(task_id)
    except InvalidName as error:
        raise TaskNotFound(f"there is no task of that id: {error}") from None
    stored = await services.threads.run(services.records.read, task_id)
    if stored is not None:
        return stored
    if not await services.issued(task_id) or is_group(task_id):
        raise TaskNotFound(f"there is no task {task_id}: this deployment never issued that id")
    submitted_at = (await services.task_ids()).submitted_at(task_id)
    too_old = services.clock() - submitted_at > services.topology.longest_wait
    if too_old and await followed_group(task_id, services) is None:
        raise TaskNotFound(
            f"task {task_id} was submitted at {submitted_at.isoformat()}: its record has expired, or it keeps none"
        )
    return submitted_at


async def followed_group(task_id: str, services: Services) -> str | None:
    """The group that a task without a record follows, as its join or its failure task, however long that takes.

    Reads storage for such ids only.
    """
    group_id, place = (await services.task_ids()).place_of(task_id)
    if place not in {JOIN, FAILURE}:
        return None
    try:
        group = await services.threads.run(GroupStore(services.store).read, group_id)
    except GroupNotFound:
        return None
    return None if (group.then if place == JOIN else group.on_failure) is None else group_id


def public(record: TaskRecord, *, inside: bool) -> dict[str, Any]:
    """A record as clients see it: without what workers keep in it for each other.

    Args:
        inside: with tracebacks, the names of workers (a host and a process), the cursor and the results of steps too.
    """
    shown = record.model_dump(mode="json", exclude=set(PRIVATE), exclude_none=True)
    if not inside:
        hide_inside(shown["attempts"])
        shown.pop("cursor", None)
        for step in shown["steps"]:
            step.pop("result", None)
    return shown


def hide_inside(attempts: Iterable[dict[str, Any]]) -> None:
    """Take tracebacks and the names of workers out of attempts, as JSON has them."""
    for attempt in attempts:
        # Still the same for attempts of the same worker.
        attempt["worker"] = hashlib.sha256(attempt["worker"].encode()).hexdigest()[:12]
        attempt.get("error", {}).pop("traceback", None)


@router.get("/tasks/{task_id}", response_model=TaskRecord | QueuedTask, summary="One task")
async def get_task(task_id: str, services: Provided) -> Response:
    """The task's record. One that no worker has touched yet has only its id, its status and its time."""
    found = await find(task_id, services)
    if isinstance(found, Stored):
        return json_answer(public(found.record, inside=services.settings.show_tracebacks))
    group_id = await followed_group(task_id, services)
    queued = QueuedTask(task_id=task_id, submitted_at=found, follows_group=group_id)
    return json_answer(queued.model_dump(mode="json", exclude_none=True))


@router.get(
    "/tasks",
    response_model=TaskPage,
    response_model_exclude_none=True,
    summary="The tasks, newest first",
)
async def list_tasks(services: Provided, listing: Listed) -> Response:
    """Tasks that no worker has touched are listed too. What happened in the last seconds may be missing."""
    query, after = listing.query(), listing.after()
    found = await services.threads.run(
        services.index.page, query, size=listing.page_size + 1, after=after, by_due=listing.by_due
    )
    page = found[: listing.page_size]
    answer: dict[str, Any] = {
        "tasks": [summary(entry) for entry in page],
        "next_page_token": token_after(page[-1], by_due=listing.by_due) if len(found) > len(page) else None,
    }
    if listing.count:
        by_status = await services.threads.run(services.index.counts, query)
        answer |= {"total": sum(by_status.values()), "by_status": by_status}
    return json_answer(answer)


@router.get(
    "/tasks/{task_id}/result",
    summary="A task's result",
    responses={200: {"description": "What the handler returned, as JSON; or the file that it made."}},
)
async def get_result(task_id: str, services: Provided) -> Response:
    """409 while there is no result, and where there will never be one: `task_status` says which."""
    found = await find(task_id, services)
    if not isinstance(found, Stored):
        group_id = await followed_group(task_id, services)
        what = "is queued" if group_id is None else f"follows the members of group {group_id}"
        raise Problem(409, f"task {task_id} {what}: it has no result yet", task_status="queued")
    record = found.record
    if record.status is not Status.SUCCEEDED:
        why = "it will have none" if record.status.final else "it has no result yet"
        because = f" ({record.reason})" if record.reason else ""
        raise Problem(409, f"task {task_id} is {record.status}{because}: {why}", task_status=record.status)
    if record.result_object is None:
        return json_answer(record.result)
    try:
        stream = await services.threads.run(services.store.open_read, record.result_object.name)
    except ObjectNotFound:
        raise Problem(404, f"the result of task {task_id} has expired: {record.result_object.name} is gone") from None
    try:
        first = await services.threads.run(stream.read, CHUNK_BYTES)  # before the answer begins: storage may be down
    except BaseException:
        stream.close()
        raise
    name = record.result_object.name.rpartition("/")[2].encode("ascii", "replace").decode().replace('"', "_")
    return StreamingResponse(
        _chunks(first, stream, services),
        media_type=record.result_object.content_type,
        headers={
            "content-length": str(record.result_object.size_bytes),
            "content-disposition": f'attachment; filename="{name}"',
        },
    )


@router.post(
    "/tasks/{task_id}:cancel",
    response_model=CancelAnswer,
    summary="Cancel a task",
    responses={409: {"description": "The task has ended already."}},
)
async def cancel_task(task_id: str, request: Request, services: Provided) -> Response:
    """A queued task never starts. A running one is notified: its handler sees it at its next checkpoint."""
    return _cancelled(await cancel(task_id, services, partial(request_cancel, task_id=task_id)))


def request_cancel(found: Stored | datetime, now: datetime, *, task_id: str) -> TaskRecord:
    """The record of a task that is to end, for `cancel`. Raises `Conflict`: it has ended already."""
    if isinstance(found, Stored):
        if found.record.status is Status.CANCELLED:
            return found.record
        if found.record.status.final:
            raise Conflict(f"task {task_id} is {found.record.status} already")
        return transitions.cancel_requested(found.record, now=now)
    # The message is still unread, so its type, queue and payload are unknown here.
    record = TaskRecord(
        task_id=task_id, task_type="", queue="", status=Status.QUEUED, submitted_at=found, updated_at=now
    )
    return transitions.cancelled(record, now=now)


async def cancel(
    task_id: str, services: Services, change: Callable[[Stored | datetime, datetime], TaskRecord]
) -> TaskRecord:
    """Change a record as a cancel call does, and see to what follows; arguments and errors as of `rewrite`."""
    before, record = await rewrite(task_id, services, change)
    if record.status is Status.CANCELLED:
        # A task of unknown type: the worker that gets its message tells the hooks.
        if services.hooks and record.task_type and (before is None or not before.status.final):
            await services.hooks.of(record.task_type).on_cancel_async(TaskInfo.of(record))
        await services.send_following(record)  # before the timer goes, whose message would make up for it
        await timerless(before, services)
        with contextlib.suppress(StoreUnavailable):  # the worker that meets the message does it, or the lifecycle
            for value in record.large_values:
                await services.threads.run(large_values.remove, services.store, value)
    return record


async def rewrite(
    task_id: str, services: Services, change: Callable[[Stored | datetime, datetime], TaskRecord]
) -> tuple[TaskRecord | None, TaskRecord]:
    """Change a task's record, whatever workers write meanwhile.

    Args:
        task_id: the task's.
        services: the application's.
        change: gets what `find` found and the time; returns the record to write, or the one it got to leave it.

    Returns:
        The record before, None if there was none; and after.

    Raises:
        TaskNotFound: there is no such task.
        Conflict: it changes all the time; and whatever `change` raises.
    """
    for _ in range(REWRITE_TRIES):
        found = await find(task_id, services)
        before, generation = (found.record, found.generation) if isinstance(found, Stored) else (None, ABSENT)
        record = change(found, services.clock())
        if record is before:
            return before, record
        try:
            stored = await services.threads.run(services.records.write, record, if_generation=generation)
        except PreconditionFailed:
            continue  # a worker wrote in between: look again
        return before, stored.record
    raise Conflict(f"task {task_id} changes all the time: try again in a moment")


async def timerless(before: TaskRecord | None, services: Services) -> None:
    """Delete the timer of a record that waits for its time no longer; one that stays does no harm."""
    if before is not None and before.status is Status.SCHEDULED and before.not_before is not None:
        timers = Timers(services.store)
        with contextlib.suppress(StoreUnavailable):
            await services.threads.run(timers.remove, before.task_id, not_before=before.not_before)


def _cancelled(record: TaskRecord) -> Response:
    answer = CancelAnswer(task_id=record.task_id, status=record.status, cancel_requested_at=record.cancel_requested_at)
    return json_answer(answer.model_dump(mode="json", exclude_none=True))


async def _chunks(first: bytes, stream: IO[bytes], services: Services) -> AsyncIterator[bytes]:
    try:
        chunk = first
        while chunk:
            yield chunk
            chunk = await services.threads.run(stream.read, CHUNK_BYTES)
    finally:
        stream.close()
