"""Tasks that wait for a time: kept until then, run now, moved to another time.

What is decided is decided in the task's record; messages and timers only wake it. So a time is moved by writing the
record first: what wakes the task too early is put off by the worker, what wakes it twice finds it done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from poolhouse.api import bodies, drafts
from poolhouse.api.answers import json_answer
from poolhouse.api.routes.tasks import rewrite, timerless
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.errors import Conflict, PreconditionFailed, StoreUnavailable
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import Stored
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.timing.delays import LONGEST_WAIT_S

router = APIRouter(tags=["tasks"], route_class=StrictQueryRoute)
_log = structlog.get_logger("poolhouse.api.routes.scheduled")

_NEW_TIME: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "minProperties": 1,
                    "maxProperties": 1,
                    "properties": {
                        "delay_s": {
                            "type": "number",
                            "minimum": 0,
                            "maximum": LONGEST_WAIT_S,
                            "description": "Seconds from now.",
                        },
                        "run_at": {"type": "string", "format": "date-time", "description": "A time with its zone."},
                    },
                },
                "examples": {"in an hour": {"value": {"delay_s": 3600}}},
            }
        },
    }
}
_NOT_WAITING: dict[int | str, dict[str, Any]] = {409: {"description": "The task does not wait for a time."}}


class Moved(BaseModel):
    """A task with its new time."""

    task_id: str
    status: Status
    not_before: datetime | None = None


async def schedule(task: TaskMessage, services: Services) -> str:
    """Let a task wait for its time: what wakes it first, then the record that shows it waiting."""
    now = services.clock()
    message_id = await services.send(await services.hooks.submitting_async(task), now=now)
    if services.registry[task.task_type].record:
        try:
            await services.threads.run(services.records.submit, transitions.fresh(task, now=now))
        except PreconditionFailed:
            pass  # submitted before, under the same key
        except StoreUnavailable as error:
            _log.warning("a delayed task has no record until it is due", task_id=task.task_id, error=str(error))
    return message_id


@router.post(
    "/tasks/{task_id}:run-now", response_model=Moved, summary="Run a scheduled task now", responses=_NOT_WAITING
)
async def run_task_now(task_id: str, services: Provided) -> Response:
    """It is queued at once. A task that waits for its next attempt may be run now, too."""
    return await _move(task_id, services, None)


@router.post(
    "/tasks/{task_id}:reschedule",
    response_model=Moved,
    summary="Move a scheduled task to another time",
    responses=_NOT_WAITING,
    openapi_extra=_NEW_TIME,
)
async def reschedule_task(task_id: str, request: Request, services: Provided) -> Response:
    """Earlier or later; a time that has passed means now."""
    at = drafts.new_time(await bodies.read_object(request), services)
    return await _move(task_id, services, at if at > services.clock() else None)


async def _move(task_id: str, services: Services, at: datetime | None) -> Response:
    def change(found: Stored | datetime, now: datetime) -> TaskRecord:
        if not isinstance(found, Stored):
            raise Conflict(f"task {task_id} is queued: it has no time to be moved")
        # Queued already: perhaps by this very call, whose answer was lost before the queue had the message.
        if at is None and found.record.status is Status.QUEUED:
            return found.record
        if found.record.status is not Status.SCHEDULED:
            raise Conflict(f"task {task_id} is {found.record.status}: only a scheduled task can be moved")
        return transitions.moved(found.record, not_before=at, now=now)

    before, record = await rewrite(task_id, services, change)
    await services.send(transitions.message_of(record), now=services.clock())
    if record.status is Status.QUEUED:
        # After a move to another time the old timer stays: another call may be moving the task back to it.
        await timerless(before, services)
    answer = Moved(task_id=task_id, status=record.status, not_before=record.not_before)
    return json_answer(answer.model_dump(mode="json", exclude_none=True))
