"""Figures of queues and task types over the last while."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.backlog import BacklogUnavailable
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.index.figures import Ends, Figures, figures
from poolhouse.pipeline.messaging.message import format_time
from poolhouse.pipeline.numbers import Whole

router = APIRouter(tags=["queues"], route_class=StrictQueryRoute)


class QueueStatistics(BaseModel):
    """One queue: how many tasks are where, and what came and went in each step of the window."""

    name: str
    waiting: int = Field(description="Tasks that wait for a worker, the parked ones included.")
    running: int = Field(description="Tasks whose handler runs.")
    delayed: int = Field(description="Tasks that wait for a time.")
    parked: int | None = Field(
        description="Of those that wait, the ones that a worker holds until it has room for them; null where unknown."
    )
    dead: int = Field(description="Dead letters.")
    submitted: list[int] = Field(description="Tasks submitted in each step, the oldest first.")
    ended: list[int] = Field(description="Tasks that ended in each step.")
    failed: list[int] = Field(description="Of those, the failed and dead ones.")
    ends: Ends


class TypeStatistics(BaseModel):
    """One task type, of which something ended in the window."""

    task_type: str
    ends: Ends


class Statistics(BaseModel):
    """The figures of a window that ends now. Times are of its newest 20,000 ends."""

    since: str
    step_s: float
    queues: list[QueueStatistics]
    task_types: list[TypeStatistics]


@router.get("/statistics", response_model=Statistics, summary="Figures of queues and task types")
async def get_statistics(
    services: Provided,
    minutes: Annotated[Whole, Query(ge=1, le=7 * 1440, description="Length of the window.")] = 60,
) -> Response:
    """From the index of tasks: task types that keep no records are not in it."""
    queues = services.topology.queues

    def read() -> Figures:
        names = [queue.name for queue in queues]
        window = timedelta(minutes=minutes)
        return figures(services.index.current(), names, now=services.clock(), window=window)

    found = await services.threads.run(read)
    answer = {
        "since": format_time(found.since),
        "step_s": found.step_s,
        "queues": await asyncio.gather(*(_queue(queue, found, services) for queue in queues)),
        "task_types": [{"task_type": name, "ends": asdict(ends)} for name, ends in found.task_types.items()],
    }
    return json_answer(answer)


async def _queue(queue: Queue, found: Figures, services: Services) -> dict[str, Any]:
    held, dead = await asyncio.gather(
        asyncio.to_thread(_held, queue, services), services.count_dead_letters(queue.name)
    )
    own = found.queues[queue.name]
    # What a worker holds and does not run waits in it: for a thread, or for room under a limit.
    parked = None if held is None else max(0, min(held - own.running, own.waiting))
    return {"name": queue.name, "parked": parked, "dead": dead, **asdict(own)}


def _held(queue: Queue, services: Services) -> int | None:
    try:
        return services.backlog.look(queue).in_flight
    except BacklogUnavailable:
        return None
