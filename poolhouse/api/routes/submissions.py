"""Submitting tasks: the simple calls, `POST /tasks` and `POST /tasks:batch`.

An answer of 2xx is given once Pub/Sub has the message. A plain submit makes no storage call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api import bodies, drafts, idempotency, problems, uniqueness
from poolhouse.api.access import SUBMITTED
from poolhouse.api.answers import json_answer
from poolhouse.api.drafts import Draft
from poolhouse.api.idempotency import IdempotencyKeys, KeyRecord
from poolhouse.api.problems import FieldError, Problem, field_problem
from poolhouse.api.routes import scheduled
from poolhouse.api.services import Provided, Services, services_of
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.api.uniqueness import TaskExists
from poolhouse.pipeline.errors import PoolhouseError, ServiceUnavailable
from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.delays import LONGEST_WAIT_S
from poolhouse.pipeline.webhooks.urls import MAX_URL_LENGTH

router = APIRouter(tags=["submit"], route_class=StrictQueryRoute)

#: Tasks of a batch that are made without a break: others wait for the event loop.
TURN = 50


class Submitted(BaseModel):
    """A task that Pub/Sub has; or the bucket, until its time."""

    task_id: str = Field(description="The task's id: GET /tasks/{id} tells how it gets on.")
    message_id: str = Field(description="The id that Pub/Sub gave the message; empty until a delayed task is due.")
    status: Literal["submitted", "scheduled", "exists"] = Field(
        default="submitted",
        description="`scheduled` where it waits for a time; `exists` where it is unique, and another task has its key: "
        "the id is that task's.",
    )


class Rejected(BaseModel):
    """A task of a batch that was not submitted."""

    status: Literal["rejected"] = "rejected"
    error: str
    code: int = Field(description="The status that the task alone would have got; 503: try it again.")
    errors: list[FieldError] = []


class BatchAnswer(BaseModel):
    """One answer a task, in the order of the request."""

    submitted: int
    rejected: int
    tasks: list[Submitted | Rejected]


@dataclass(frozen=True)
class Published:
    """A task and its message."""

    task_id: str
    message_id: str
    #: Whether it waits for a time.
    delayed: bool = False
    #: Whether an earlier call with the same idempotency key had submitted it.
    repeated: bool = False
    #: Whether it is another task, which has the key of the one that was to be submitted.
    exists: bool = False

    def answer(self) -> dict[str, Any]:
        """The answer's body."""
        status = "exists" if self.exists else "scheduled" if self.delayed else "submitted"
        return {"task_id": self.task_id, "message_id": self.message_id, "status": status}


async def submit(draft: Draft, services: Services, request: Request) -> Published:
    """Submit a task; once for each idempotency key, where the request has one.

    Raises:
        Problem: the key is not one, or belongs to another body; the task is too large, or not unique.
        ServiceUnavailable: the queue (or, with a key or at the very first call, the bucket) is down.
    """
    try:
        published = await _submit(draft, services, request)
    except TaskExists as error:
        published = Published(error.task_id, "", exists=True)
    request.scope[SUBMITTED] = published.task_id
    return published


async def _submit(draft: Draft, services: Services, request: Request) -> Published:
    context = trace.context(request.headers)
    ids = await services.task_ids()
    key = idempotency.key_of(request)
    if key is None:
        now = services.clock()
        task = draft.message(task_id=ids.new(now), at=now, trace=context)
        task, data = await bodies.off_loop(request, _sendable, task, services)
        return Published(task.task_id, await publish(task, data, draft, services), task.not_before is not None)
    # Before the key is taken: a task too large can't be submitted under it.
    probe = draft.message(task_id=ids.new(services.clock()), at=services.clock(), trace=context)
    await bodies.off_loop(request, _sendable, probe, services)

    async def publish_of(record: KeyRecord) -> str:
        task = draft.message(task_id=record.task_id, at=record.submitted_at, trace=context)
        task, data = await bodies.off_loop(request, _sendable, task, services)
        return await publish(task, data, draft, services)

    body_sha256 = await bodies.off_loop(request, idempotency.fingerprint, draft)
    record, message_id, repeated = await IdempotencyKeys(services).once(
        key, body_sha256, new_id=ids.new, publish=publish_of
    )
    return Published(record.task_id, message_id, probe.not_before is not None, repeated)


def publish(task: TaskMessage, data: bytes, draft: Draft, services: Services) -> asyncio.Future[str]:
    """Give a task to its queue, or to the bucket until its time; the future is as `Publisher.submit`'s.

    Args:
        task: as `_sendable` makes it.
        data: its message.
        draft: what was asked for.
        services: queue and bucket.
    """
    if draft.unique is not None:
        return asyncio.ensure_future(uniqueness.submit(task, draft.unique, services))
    if task.not_before is not None:
        return asyncio.ensure_future(scheduled.schedule(task, services))
    if task.payload_object is not None:
        return asyncio.ensure_future(_send_large(task, services))
    if services.hooks:
        return asyncio.ensure_future(_publish_hooked(task, data, services))
    attributes = services.publisher.attributes_of(task)
    return asyncio.wrap_future(services.publisher.publish_raw(task.queue, data, attributes))


async def _send_large(task: TaskMessage, services: Services) -> str:
    return await services.send(await services.hooks.submitting_async(task), now=services.clock())


async def _publish_hooked(task: TaskMessage, data: bytes, services: Services) -> str:
    attributes = services.publisher.attributes_of(await services.hooks.submitting_async(task))
    return await asyncio.wrap_future(services.publisher.publish_raw(task.queue, data, attributes))


def _sendable(task: TaskMessage, services: Services) -> tuple[TaskMessage, bytes]:
    """The task as it is sent, and its message: a large payload is by reference. Raises `Problem`: 413, too large."""
    limits = services.topology.payloads
    data = task.data()
    if len(data) <= limits.inline_bytes:
        return task, data
    if len(data) > limits.max_bytes:  # as it is kept it may be longer than it came: 1e9 becomes 1000000000.0
        raise Problem(
            413,
            f"the task has {len(data):,} bytes, and may have {limits.max_bytes:,}",
            detail=bodies.TOO_LARGE,
        )
    task = task.by_reference(above_bytes=limits.inline_bytes)
    return task, task.data()


# The calls that must be fast take nothing but the request: FastAPI's parameters cost as much as all the rest together.
_QUEUE = {
    "name": "queue",
    "in": "query",
    "schema": {"type": "string"},
    "description": "The queue to use instead of the task type's own.",
}
#: Marks the operations of `simple_call` in the OpenAPI document.
TASK_TYPE = "x-task-type"
_DELAY = {
    "name": "delay_s",
    "in": "query",
    "schema": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_S},
    "description": "Seconds before which the task does not run.",
}
_RUN_AT = {
    "name": "run_at",
    "in": "query",
    "schema": {"type": "string", "format": "date-time"},
    "description": "The time, with its zone, before which the task does not run; instead of delay_s.",
}
_WEBHOOK_URL = {
    "name": "webhook_url",
    "in": "query",
    "schema": {"type": "string", "format": "uri", "maxLength": MAX_URL_LENGTH},
    "description": "The URL to call when the task has ended; instead of its type's.",
}
_SIMPLE: dict[str, Any] = {
    "openapi_extra": {"parameters": [_QUEUE, _DELAY, _RUN_AT, _WEBHOOK_URL, idempotency.PARAMETER]},
    "response_model": Submitted,
}


@router.post("/submit-task", summary="Submit a task, payload fields beside task_type", **_SIMPLE)
async def submit_task(request: Request) -> Response:
    """Answers 200 once the queue has the task."""
    return await _simple(request)


def simple_call(path: str, task_type: str) -> APIRouter:
    """Make a call like `POST /submit-task` for one task type, whose name the body may then leave out.

    Args:
        path: the call's path, such as `/submit-report`.
        task_type: the task type that it submits.

    Returns:
        A router for `app.include_router`.
    """
    own = APIRouter(tags=["submit"], route_class=StrictQueryRoute)
    extra = {**_SIMPLE["openapi_extra"], TASK_TYPE: task_type}

    @own.post(
        path,
        summary=f"Submit a {task_type} task",
        description=f"As /submit-task, of the task type {task_type}.",
        operation_id=path.strip("/").replace("-", "_").replace("/", "_"),
        response_model=Submitted,
        openapi_extra=extra,
    )
    async def submit_one_type(request: Request) -> Response:
        return await _simple(request, task_type)

    return own


@router.post(
    "/tasks",
    response_model=Submitted,
    status_code=202,
    summary="Submit a task",
    openapi_extra={"parameters": [idempotency.PARAMETER]},
)
async def create_task(request: Request) -> Response:
    """Answers 202 with the task's address in `Location`, once the queue has the task."""
    services = services_of(request)
    draft = await bodies.off_loop(request, drafts.from_nested, await bodies.read_object(request), services)
    published = await submit(draft, services, request)
    headers = {"location": f"/tasks/{published.task_id}"}
    return json_answer(published.answer(), 202, headers={**headers, **_repeated(published)})


@router.post("/tasks:batch", response_model=BatchAnswer, summary="Submit up to 1,000 tasks")
async def create_tasks(request: Request, services: Provided) -> Response:
    """One answer a task, in order; tasks that are wrong don't stop the others. 503 if the queue took none of them."""
    if idempotency.HEADER.lower() in request.headers:
        raise field_problem(idempotency.HEADER, "is for POST /tasks: a batch has none", status=400)
    body = await bodies.read_object(request)
    entries = _entries(body)
    ids = await services.task_ids()
    context = trace.context(request.headers)
    answers: list[dict[str, Any]] = [{} for _ in entries]
    publishing: dict[int, tuple[TaskMessage, asyncio.Future[str]]] = {}

    def messages(some: Sequence[Mapping[str, Any]]) -> list[tuple[TaskMessage, bytes, Draft] | Problem]:
        return [_message(entry, services, ids=ids, trace=context) for entry in some]

    for start in range(0, len(entries), TURN):
        made = await bodies.off_loop(request, messages, entries[start : start + TURN])
        for index, message in enumerate(made, start):
            if isinstance(message, Problem):
                answers[index] = _rejected(message)
            else:
                publishing[index] = (message[0], publish(*message, services))
        await asyncio.sleep(0)  # others have their turn
    outcomes = await asyncio.gather(*(future for _, future in publishing.values()), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures and len(failures) == len(entries) and isinstance(failures[0], ServiceUnavailable):
        raise failures[0]
    for (index, (task, _)), outcome in zip(publishing.items(), outcomes, strict=True):
        if isinstance(outcome, TaskExists):
            answers[index] = Published(outcome.task_id, "", exists=True).answer()
        elif isinstance(outcome, PoolhouseError | Problem):
            answers[index] = _rejected(problems.of(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            answers[index] = Published(task.task_id, outcome, task.not_before is not None).answer()
    rejected = sum(answer["status"] == "rejected" for answer in answers)
    return json_answer({"submitted": len(answers) - rejected, "rejected": rejected, "tasks": answers})


def _message(
    entry: Mapping[str, Any], services: Services, *, ids: TaskIds, trace: Mapping[str, str]
) -> tuple[TaskMessage, bytes, Draft] | Problem:
    """The task of a batch's entry and its message; or what is wrong with it."""
    try:
        now = services.clock()
        draft = drafts.from_nested(entry, services)
        task, data = _sendable(draft.message(task_id=ids.new(now), at=now, trace=trace), services)
        return task, data, draft
    except Problem as problem:
        return problem


def _entries(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise field_problem("tasks", "is required" if tasks is None else "must be an array")
    other = next((name for name in body if name != "tasks"), None)
    if other is not None:
        raise field_problem(other, "there is no such field")
    if not 1 <= len(tasks) <= drafts.MAX_BATCH:
        raise field_problem("tasks", f"must have 1 to {drafts.MAX_BATCH:,} tasks, not {len(tasks):,}")
    wrong = [
        FieldError(field=f"tasks.{index}", message="must be an object")
        for index, entry in enumerate(tasks)
        if not isinstance(entry, dict)
    ]
    if wrong:
        raise problems.fields_problem(wrong)
    return tasks


def _rejected(problem: Problem) -> dict[str, Any]:
    answer: dict[str, Any] = {"status": "rejected", "error": problem.error, "code": problem.status}
    if problem.errors:
        answer["errors"] = [error.model_dump() for error in problem.errors]
    return answer


async def _simple(request: Request, task_type: str | None = None) -> Response:
    services = services_of(request)
    body = await bodies.read_object(request)
    draft = await bodies.off_loop(
        request, drafts.from_flat, body, services, options=request.query_params, task_type=task_type
    )
    published = await submit(draft, services, request)
    return json_answer(published.answer(), headers=_repeated(published))


def _repeated(published: Published) -> dict[str, str]:
    return {"idempotency-replayed": "true"} if published.repeated else {}
