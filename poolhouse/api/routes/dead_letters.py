"""Dead letters: looked at, replayed, discarded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response

from poolhouse.api import bodies, drafts, uniqueness
from poolhouse.api.answers import json_answer
from poolhouse.api.problems import field_problem
from poolhouse.api.routes.tasks import hide_inside
from poolhouse.api.selection import Moment, check_queue
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.control.filters import Filter
from poolhouse.pipeline.errors import InvalidName, TaskNotFound
from poolhouse.pipeline.names import check_task_id
from poolhouse.pipeline.numbers import Whole
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.dead_letter import DeadLetter
from poolhouse.pipeline.tasks.large_values import ValueLost, read
from poolhouse.pipeline.tasks.records import Status

router = APIRouter(tags=["dead letters"], route_class=StrictQueryRoute)


class DeadLetterEntry(BaseModel):
    """The summary of a dead letter in a listing."""

    task_id: str
    task_type: str
    queue: str
    reason: str
    died_at: str


class DeadLetterList(BaseModel):
    """A page of dead letters."""

    dead_letters: list[DeadLetterEntry]
    next_page_token: str | None = Field(description="Send it as page_token for the next page; null on the last.")


class Replay(BaseModel):
    """How to replay a task."""

    payload: dict[str, Any] | None = Field(default=None, description="Used instead of the original payload.")


class Replayed(BaseModel):
    """A task with a new life."""

    task_id: str
    message_id: str
    status: Literal["queued"] = "queued"


@router.get("/dead-letters", response_model=DeadLetterList, summary="What failed for good")
async def list_dead_letters(
    *,
    services: Provided,
    queue: Annotated[str | None, Query(description="Only dead letters of this queue.")] = None,
    task_type: Annotated[str | None, Query(description="Only dead letters of this task type.")] = None,
    reason: Annotated[str | None, Query(description="Only with this text in the reason, in any case.")] = None,
    died_before: Annotated[Moment | None, Query(description="Only what died before this.")] = None,
    died_after: Annotated[Moment | None, Query(description="Only what died then or later.")] = None,
    page_size: Annotated[Whole, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str | None, Query(max_length=2000, description="next_page_token of the page before.")] = None,
) -> Response:
    """By queue; the newest task of each first. A page may be short, even empty, before the last."""
    check_queue(queue, services)
    chosen = Filter(queue=queue, task_type=task_type, reason=reason, before=died_before, after=died_after)
    box = await services.dead_letters()
    page = await services.threads.run(box.page, chosen, page_size=page_size, page_token=page_token or None)
    letters = [asdict(letter) for letter in page.dead_letters]
    return json_answer({"dead_letters": letters, "next_page_token": page.next_token})


@router.get("/dead-letters/{task_id}", response_model=DeadLetter, summary="One dead letter")
async def get_dead_letter(task_id: str, services: Provided) -> Response:
    """With its reason, its attempts and the original message."""
    box = await services.dead_letters()
    letter = await services.threads.run(box.get, _known(task_id))
    shown = letter.model_dump(mode="json", exclude_none=True)
    if not services.settings.show_tracebacks:
        hide_inside(shown["attempts"])
    return json_answer(shown)


@router.post(
    "/dead-letters/{task_id}:replay",
    response_model=Replayed,
    summary="Try a task again",
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Replay"}}}}
    },
)
async def replay_dead_letter(task_id: str, request: Request, services: Provided) -> Response:
    """The same task id, its history kept, its attempts from the start; with another payload, where one is given."""
    body = await bodies.read_optional_object(request)
    for name in body:
        if name != "payload":
            raise field_problem(name, "there is no such field")
    known = _known(task_id)
    box = await services.dead_letters()
    payload = None
    try:
        if body.get("payload") is not None:
            letter = await services.threads.run(box.get, known)
            payload = drafts.check_payload(letter.task_type, body["payload"], services)
        await take_key(known, payload, services)
        message_id = await services.threads.run(
            box.replay, known, services.publisher, now=services.clock(), payload=payload
        )
    except TaskNotFound as error:
        stored = await services.threads.run(services.records.read, known)
        if stored is None or stored.record.status is not Status.CANCELLED:
            raise
        raise TaskNotFound(
            f"{error}: the task was cancelled, and only dead ones can be replayed; submit it anew"
        ) from None
    return json_answer({"task_id": task_id, "message_id": message_id, "status": "queued"})


@router.post("/dead-letters/{task_id}:discard", status_code=204, summary="Give a task up")
async def discard_dead_letter(task_id: str, services: Provided) -> Response:
    """Its dead letter is deleted, and its record reads failed."""
    box = await services.dead_letters()
    await services.threads.run(box.discard, _known(task_id), now=services.clock(), follow=services.follow)
    return Response(status_code=204)


async def take_key(task_id: str, payload: Mapping[str, Any] | None, services: Services) -> None:
    """Take the key of a unique task that is replayed. Raises `Problem`: 409, another task has it."""
    if not any(handler.unique for handler in services.registry.values()):
        return  # spares a look at the record
    stored = await services.threads.run(services.records.read, _known(task_id))
    handler = None if stored is None else services.registry.get(stored.record.task_type)
    if stored is None or handler is None or handler.unique is None:
        return
    task = transitions.message_of(stored.record)
    if payload is not None:
        task = replace(task, payload=payload)
    elif task.payload_object is not None:
        with suppress(ValueLost):  # what it dies of
            task = replace(task, payload=await services.threads.run(read, services.store, task.payload_object))
    with suppress(ValidationError):  # what it died of: it will again
        await uniqueness.replaying(task, handler.unique, services)


def _known(task_id: str) -> str:
    try:
        return check_task_id(task_id)
    except InvalidName as error:
        raise TaskNotFound(f"there is no dead letter of that id: {error}") from None
