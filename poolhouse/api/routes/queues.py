"""The queues: what waits, and what failed for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api import selection
from poolhouse.api.answers import json_answer
from poolhouse.api.backlog import BacklogUnavailable
from poolhouse.api.problems import Problem
from poolhouse.api.routes.bulk import BulkCancelled, cancel_page
from poolhouse.api.selection import Step, described
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.control.filters import Filter
from poolhouse.pipeline.control.state import QueueControl
from poolhouse.pipeline.tasks.records import Status

router = APIRouter(tags=["queues"], route_class=StrictQueryRoute)
_log = structlog.get_logger("poolhouse.api.routes.queues")


class QueueFigures(BaseModel):
    """Figures of one queue; null where unknown."""

    name: str
    paused_at: datetime | None = Field(description="Since when it is paused; null while it runs.")
    backlog: int | None = Field(description="Messages not finished yet, those in flight included.")
    in_flight: int | None = Field(description="Messages that workers hold.")
    oldest_age_s: float | None = Field(description="Age of the oldest message not finished yet, in seconds.")
    dead_letters: int = Field(
        description="What failed for good. Where there are thousands, the count may be some seconds old."
    )


class QueueList(BaseModel):
    """The queues, the one of the highest priority first."""

    backlog_source: Literal["none", "emulator", "monitoring"]
    queues: list[QueueFigures]


class QueueState(BaseModel):
    """Whether a queue runs."""

    name: str
    paused_at: datetime | None = Field(description="Since when it is paused; null while it runs.")


@router.get("/queues", response_model=QueueList, summary="The queues and their backlog")
async def list_queues(services: Provided) -> Response:
    """Figures come from the source that BACKLOG_SOURCE names; those of Cloud Monitoring are some minutes old."""
    control = (await services.on_state(ControlStore(services.store).read)).control
    queues = await asyncio.gather(*(_figures(queue, services, control) for queue in services.topology.queues))
    return json_answer({"backlog_source": services.settings.backlog_source, "queues": queues})


@router.post("/queues/{name}:pause", response_model=QueueState, summary="Pause a queue")
async def pause_queue(name: str, services: Provided) -> Response:
    """Its workers start nothing more, within two seconds; what runs goes on. Submits go on too, and wait."""
    queue = _named(name, services)
    return await _decide(queue, services, lambda control: control.pause(queue.name, now=services.clock()))


@router.post("/queues/{name}:resume", response_model=QueueState, summary="Resume a queue")
async def resume_queue(name: str, services: Provided) -> Response:
    """What waits runs, the longest waiting first as far as Pub/Sub keeps that."""
    queue = _named(name, services)
    return await _decide(queue, services, lambda control: control.resume(queue.name))


@router.post(
    "/queues/{name}:purge",
    response_model=BulkCancelled,
    summary="Cancel all that waits in a queue",
    openapi_extra=described(Step),
)
async def purge_queue(name: str, request: Request, services: Provided) -> Response:
    """Cancels waiting and delayed tasks submitted until now; what runs goes on. As `POST /tasks:cancel` by queue."""
    queue = _named(name, services)
    step = await selection.read(Step, request, services)
    chosen = Filter(queue=queue.name, status=frozenset({Status.QUEUED, Status.SCHEDULED}))
    return await cancel_page(chosen, step, services, reason=f"queue {queue.name} was purged")


async def _decide(queue: Queue, services: Services, change: Callable[[QueueControl], QueueControl]) -> Response:
    control = await services.on_state(ControlStore(services.store).change, change)
    return json_answer(_state(queue, control))


def _state(queue: Queue, control: QueueControl) -> dict[str, Any]:
    return QueueState(name=queue.name, paused_at=control.paused.get(queue.name)).model_dump(mode="json")


def _named(name: str, services: Services) -> Queue:
    try:
        return services.topology.by_name[name]
    except KeyError:
        known = ", ".join(services.topology.by_name)
        raise Problem(404, f"there is no queue {name[:100]!r} (queues: {known})") from None


async def _figures(queue: Queue, services: Services, control: QueueControl) -> dict[str, Any]:
    figures, dead_letters = await asyncio.gather(
        asyncio.to_thread(_look, queue, services), services.count_dead_letters(queue.name)
    )
    return {**_state(queue, control), **figures, "dead_letters": dead_letters}


def _look(queue: Queue, services: Services) -> dict[str, Any]:
    try:
        backlog = services.backlog.look(queue)
    except BacklogUnavailable as error:
        _log.warning("no backlog figures", queue=queue.name, error=str(error))
        return {"backlog": None, "in_flight": None, "oldest_age_s": None}
    return {"backlog": backlog.backlog, "in_flight": backlog.in_flight, "oldest_age_s": backlog.oldest_age_s}
