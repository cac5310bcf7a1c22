"""Submitting tasks: the simple calls, `POST /tasks` and `POST /tasks:batch`.

An answer of 2xx is given once Pub/Sub has the message. A plain submit makes no storage call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from api import bodies, drafts, idempotency, problems, trace
from api.answers import json_answer
from api.drafts import Draft
from api.idempotency import IdempotencyKeys, KeyRecord
from api.problems import FieldError, Problem, field_problem
from api.services import Provided, Services
from pipeline.errors import PoolhouseError, ServiceUnavailable

router = APIRouter(tags=["submit"])


class Submitted(BaseModel):
    """A task that Pub/Sub has."""

    task_id: str = Field(description="The task's id: GET /tasks/{id} tells how it gets on.")
    message_id: str = Field(description="The id that Pub/Sub gave the message.")
    status: Literal["submitted"] = "submitted"


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
    #: Whether an earlier call with the same idempotency key had submitted it.
    repeated: bool = False

    def answer(self) -> dict[str, Any]:
        """The answer's body."""
        return {"task_id": self.task_id, "message_id": self.message_id, "status": "submitted"}


async def submit(draft: Draft, services: Services, request: Request) -> Published:
    """Submit a task; once for each idempotency key, where the request has one.

    Raises:
        Problem: the key is not one, or belongs to another body; the task is too large.
        ServiceUnavailable: the queue (or, with a key or at the very first call, the bucket) is down.
    """
    context = trace.context(request.headers)
    ids = await services.task_ids()
    key = request.headers.get(idempotency.HEADER)
    if key is None:
        now = services.clock()
        task = draft.message(task_id=ids.new(now), at=now, trace=context)
        return Published(task.task_id, await asyncio.wrap_future(services.publisher.submit(task)))

    async def publish(record: KeyRecord) -> str:
        task = draft.message(task_id=record.task_id, at=record.submitted_at, trace=context)
        return await asyncio.wrap_future(services.publisher.submit(task))

    record, repeated = await IdempotencyKeys(services).once(
        idempotency.check_key(key), draft, new_id=ids.new, publish=publish
    )
    return Published(record.task_id, record.message_id or "", repeated)


_Queue = Annotated[
    str | None, Query(description="The queue to use instead of the task type's own.", examples=["urgent"])
]
_Key = Annotated[
    str | None,
    Header(
        alias=idempotency.HEADER,
        description="Any text of the client's: the same key with the same body gives the same task, however often.",
    ),
]


@router.post("/submit-task", response_model=Submitted, summary="Submit a task, payload fields beside task_type")
async def submit_task(request: Request, services: Provided, queue: _Queue = None, key: _Key = None) -> Response:
    """Answers 200 once the queue has the task."""
    body = await bodies.read_object(request)
    return _simple(await submit(drafts.from_flat(body, services, queue=queue), services, request))


@router.post("/submit-file-task", response_model=Submitted, summary="Submit a file_processing task")
async def submit_file_task(request: Request, services: Provided, queue: _Queue = None, key: _Key = None) -> Response:
    """As /submit-task, of the task type file_processing."""
    body = await bodies.read_object(request)
    draft = drafts.from_flat(body, services, queue=queue, task_type="file_processing")
    return _simple(await submit(draft, services, request))


@router.post("/submit-data-task", response_model=Submitted, summary="Submit a data_transformation task")
async def submit_data_task(request: Request, services: Provided, queue: _Queue = None, key: _Key = None) -> Response:
    """As /submit-task, of the task type data_transformation."""
    body = await bodies.read_object(request)
    draft = drafts.from_flat(body, services, queue=queue, task_type="data_transformation")
    return _simple(await submit(draft, services, request))


@router.post("/tasks", response_model=Submitted, status_code=202, summary="Submit a task")
async def create_task(request: Request, services: Provided, key: _Key = None) -> Response:
    """Answers 202 with the task's address in `Location`, once the queue has the task."""
    body = await bodies.read_object(request)
    published = await submit(drafts.from_nested(body, services), services, request)
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
    publishing: dict[int, tuple[str, asyncio.Future[str]]] = {}
    for index, entry in enumerate(entries):
        try:
            now = services.clock()
            task = drafts.from_nested(entry, services).message(task_id=ids.new(now), at=now, trace=context)
            publishing[index] = (task.task_id, asyncio.wrap_future(services.publisher.submit(task)))
        except Problem as problem:
            answers[index] = _rejected(problem)
        if index % 50 == 49:
            await asyncio.sleep(0)  # others have their turn
    outcomes = await asyncio.gather(*(future for _, future in publishing.values()), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures and len(failures) == len(entries) and isinstance(failures[0], ServiceUnavailable):
        raise failures[0]
    for (index, (task_id, _)), outcome in zip(publishing.items(), outcomes, strict=True):
        if isinstance(outcome, PoolhouseError):
            answers[index] = _rejected(problems.of(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            answers[index] = Published(task_id, outcome).answer()
    rejected = sum(answer["status"] == "rejected" for answer in answers)
    return json_answer({"submitted": len(answers) - rejected, "rejected": rejected, "tasks": answers})


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


def _simple(published: Published) -> Response:
    return json_answer(published.answer(), headers=_repeated(published))


def _repeated(published: Published) -> dict[str, str]:
    return {"idempotency-replayed": "true"} if published.repeated else {}
