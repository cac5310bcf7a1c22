"""Bulk calls: cancel tasks, replay or discard dead letters, all that match a filter.

Each call works on a page and answers with the token of the next one: the caller sets the rate, shows the progress, and
goes on after a break, with the token or from the start, since what is done already matches no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api import selection
from poolhouse.api.answers import json_answer
from poolhouse.api.backlog import BacklogUnavailable
from poolhouse.api.listing import after_token, summary, token_after
from poolhouse.api.problems import Problem
from poolhouse.api.routes.dead_letters import DeadLetterEntry, take_key
from poolhouse.api.routes.tasks import TaskSummary, cancel
from poolhouse.api.selection import SAMPLES, DeadLetterSelection, Step, TaskSelection, described
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.control.filters import LIVE, Filter
from poolhouse.pipeline.control.state import CancelOrder, QueueControl
from poolhouse.pipeline.errors import Conflict, InvalidName, RecordUnreadable, TaskNotFound
from poolhouse.pipeline.index.database import TaskQuery
from poolhouse.pipeline.messaging.message import parse_time
from poolhouse.pipeline.tasks import transitions
from poolhouse.pipeline.tasks.record_store import Stored
from poolhouse.pipeline.tasks.records import Status, TaskRecord

#: Matches of one call that are worked on at the same time.
_AT_A_TIME = 16
#: What waiting tasks may have no record for.
_WAITING = frozenset({Status.QUEUED, Status.SCHEDULED})

router = APIRouter(route_class=StrictQueryRoute)


class BulkCancelled(BaseModel):
    """What became of one page of tasks; in a dry run what would."""

    dry_run: bool
    matched: int = Field(description="Tasks with a record that match, of this page.")
    cancelled: int = Field(description="Of those, the ones that never start now.")
    notified: int = Field(description="Of those, the running ones: their handlers see it at their next checkpoint.")
    skipped: int = Field(description="Of those, the ones that changed meanwhile: they ended, or started.")
    waiting: int | None = Field(
        description="Messages that wait in the queues concerned. A task that no worker has touched has no record: one "
        "that matches is cancelled when a worker meets it. Null where unknown, or where none is meant."
    )
    samples: list[TaskSummary] = Field(description="The first of the page.")
    next_page_token: str | None = Field(description="Send it as page_token to go on; null on the last.")


class BulkDeadLetters(BaseModel):
    """What became of one page of dead letters; in a dry run what would."""

    dry_run: bool
    matched: int = Field(description="Dead letters that match, of this page.")
    done: int = Field(description="Of those, the ones that were replayed or discarded.")
    skipped: int = Field(description="Of those, the ones that another call dealt with, or whose key is taken.")
    samples: list[DeadLetterEntry] = Field(description="The first of the page.")
    next_page_token: str | None = Field(description="Send it as page_token to go on; null on the last.")


@router.post(
    "/tasks:cancel",
    response_model=BulkCancelled,
    response_model_exclude_none=False,
    summary="Cancel the tasks that match",
    tags=["tasks"],
    openapi_extra=described(TaskSelection),
)
async def cancel_tasks(request: Request, services: Provided) -> Response:
    """Tasks submitted after the first call are not meant."""
    body = await selection.read(TaskSelection, request, services)
    chosen = body.chosen
    return await cancel_page(replace(chosen, status=chosen.status or LIVE), body, services, reason="cancelled")


@router.post(
    "/dead-letters:replay",
    response_model=BulkDeadLetters,
    summary="Replay the dead letters that match",
    tags=["dead letters"],
    openapi_extra=described(DeadLetterSelection),
)
async def replay_dead_letters(request: Request, services: Provided) -> Response:
    """As `POST /dead-letters/ID:replay` does, each with its own payload."""
    box = await services.dead_letters()

    async def replay(task_id: str) -> None:
        await take_key(task_id, None, services)
        await services.threads.run(box.replay, task_id, services.publisher, now=services.clock())

    return await _dead_letters(request, services, replay)


@router.post(
    "/dead-letters:discard",
    response_model=BulkDeadLetters,
    summary="Discard the dead letters that match",
    tags=["dead letters"],
    openapi_extra=described(DeadLetterSelection),
)
async def discard_dead_letters(request: Request, services: Provided) -> Response:
    """As `POST /dead-letters/ID:discard` does."""
    box = await services.dead_letters()
    return await _dead_letters(
        request,
        services,
        lambda task_id: services.threads.run(box.discard, task_id, now=services.clock(), follow=services.follow),
    )


async def cancel_page(chosen: Filter, step: Step, services: Services, *, reason: str) -> Response:
    """Cancel a page of tasks that have a record, and with the first page those that have none.

    Args:
        chosen: which ones; its statuses are set.
        step: which page, and whether to change anything.
        services: the application's.
        reason: goes into the records.
    """
    now = services.clock()
    at, after = (now, None) if step.page_token is None else _place(step.page_token)
    chosen = replace(chosen, before=min(at, chosen.before or at))
    waiting = chosen.status & _WAITING
    if waiting and after is None and not step.dry_run:
        order = CancelOrder(
            at=at,
            queue=chosen.queue,
            task_type=chosen.task_type,
            after=chosen.after,
            before=chosen.before or at,
            status=waiting,
            reason=reason,
        )
        change = partial(_with_order, order, services)
        await services.on_state(ControlStore(services.store).change, change)
    query = TaskQuery(
        statuses=chosen.status,
        task_type=chosen.task_type,
        queue=chosen.queue,
        submitted_before=chosen.before,
        submitted_after=chosen.after,
        recorded=True,
    )
    if after is None and Status.RUNNING in chosen.status:
        waiting_ones = replace(query, statuses=frozenset({Status.QUEUED}), recorded=False)
        await services.threads.run(services.index.look_up, waiting_ones)
    found = await services.threads.run(services.index.page, query, size=step.page_size + 1, after=after)
    page = found[: step.page_size]
    ended: list[TaskRecord | None] = []
    if not step.dry_run:

        def request_cancel(found: Stored | datetime, moment: datetime) -> TaskRecord:
            if not isinstance(found, Stored) or found.record.status not in chosen.status:
                raise Conflict("it changed meanwhile")
            return transitions.cancel_requested(found.record, now=moment, reason=reason)

        ended = await _each((entry.task_id for entry in page), lambda each: cancel(each, services, request_cancel))
    cancelled = sum(record is not None and record.status is Status.CANCELLED for record in ended)
    answer = BulkCancelled(
        dry_run=step.dry_run,
        matched=len(page),
        cancelled=cancelled,
        notified=sum(record is not None for record in ended) - cancelled,
        skipped=ended.count(None),
        waiting=await asyncio.to_thread(_waiting, chosen, services) if waiting else None,
        samples=[TaskSummary(**summary(entry)) for entry in page[:SAMPLES]],
        next_page_token=f"{at.isoformat()} {token_after(page[-1], by_due=False)}" if len(found) > len(page) else None,
    )
    return json_answer(answer.model_dump(mode="json"))


async def _dead_letters(request: Request, services: Services, call: Callable[[str], Awaitable[None]]) -> Response:
    body = await selection.read(DeadLetterSelection, request, services)
    box = await services.dead_letters()
    page = await services.threads.run(box.page, body.chosen, page_size=body.page_size, page_token=body.page_token)
    ended: list[bool | None] = []
    if not body.dry_run:

        async def one(task_id: str) -> bool:
            await call(task_id)
            return True

        ended = await _each((letter.task_id for letter in page.dead_letters), one)
    answer = BulkDeadLetters(
        dry_run=body.dry_run,
        matched=len(page.dead_letters),
        done=ended.count(True),
        skipped=ended.count(None),
        samples=[DeadLetterEntry(**asdict(letter)) for letter in page.dead_letters[:SAMPLES]],
        next_page_token=page.next_token,
    )
    return json_answer(answer.model_dump(mode="json"))


async def _each(ids: Iterable[str], call: Callable[[str], Awaitable[Any]]) -> list[Any]:
    """Call for each, some at a time; None where it is dealt with otherwise. Raises what ends the whole."""
    room = asyncio.Semaphore(_AT_A_TIME)

    async def one(task_id: str) -> Any:
        async with room:
            try:
                return await call(task_id)
            except (Conflict, TaskNotFound, RecordUnreadable):
                return None
            except Problem as error:
                if error.status != 409:
                    raise
                return None

    return list(await asyncio.gather(*(one(task_id) for task_id in ids)))


def _with_order(order: CancelOrder, services: Services, control: QueueControl) -> QueueControl:
    return control.order(order, keep=services.topology.longest_wait)


def _waiting(chosen: Filter, services: Services) -> int | None:
    """How many messages wait in the queues that are meant; None where one of them is unknown."""
    total = 0
    for queue in services.topology.queues:
        if chosen.queue in {None, queue.name}:
            try:
                figures = services.backlog.look(queue)
            except BacklogUnavailable:
                return None
            if figures.backlog is None:
                return None
            total += max(0, figures.backlog - (figures.in_flight or 0))
    return total


def _place(page_token: str) -> tuple[datetime, tuple[int, str]]:
    """The time of the first call, and the place of the last task of the page before."""
    at, _, after = page_token.partition(" ")
    with suppress(ValueError):
        return parse_time(at), after_token(after)
    raise InvalidName("page_token: this is no token of such a call")
