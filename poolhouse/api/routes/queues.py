"""The queues: what waits, and what failed for good."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.backlog import BacklogUnavailable
from poolhouse.api.services import Provided, Services
from poolhouse.pipeline.config.topology import Queue

router = APIRouter(tags=["queues"])
_log = structlog.get_logger("poolhouse.api.routes.queues")


class QueueFigures(BaseModel):
    """Figures of one queue; null where unknown."""

    name: str
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


@router.get("/queues", response_model=QueueList, summary="The queues and their backlog")
async def list_queues(services: Provided) -> Response:
    """Figures come from the source that BACKLOG_SOURCE names; those of Cloud Monitoring are some minutes old."""
    queues = await asyncio.gather(*(_figures(queue, services) for queue in services.topology.queues))
    return json_answer({"backlog_source": services.settings.backlog_source, "queues": queues})


async def _figures(queue: Queue, services: Services) -> dict[str, Any]:
    box = await services.dead_letters()
    figures, dead_letters = await asyncio.gather(
        asyncio.to_thread(_look, queue, services),
        services.dead_letter_counts.of(queue.name, lambda: services.threads.run(box.count, queue.name)),
    )
    return {"name": queue.name, **figures, "dead_letters": dead_letters}


def _look(queue: Queue, services: Services) -> dict[str, Any]:
    try:
        backlog = services.backlog.look(queue)
    except BacklogUnavailable as error:
        _log.warning("no backlog figures", queue=queue.name, error=str(error))
        return {"backlog": None, "in_flight": None, "oldest_age_s": None}
    return {"backlog": backlog.backlog, "in_flight": backlog.in_flight, "oldest_age_s": backlog.oldest_age_s}
