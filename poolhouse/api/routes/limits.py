"""The limits that workers share: what of them is held, and how much waits."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.services import Provided
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.limits.limit_store import LimitStore
from poolhouse.pipeline.limits.shares import LimitState

#: Limits shown at the most: each is a read.
MOST = 200

router = APIRouter(tags=["limits"], route_class=StrictQueryRoute)


class HolderView(BaseModel):
    """What one worker process has."""

    process: str
    slots: int
    starts: int
    waiting: int
    until: datetime


class LimitView(BaseModel):
    """A limit in use: one task type and key."""

    task_type: str
    kind: Literal["limit", "serial"]
    key: dict[str, Any] = Field(
        description="The values of the key's fields; empty where all tasks of the type share it."
    )
    max_concurrency: int | None
    rate: str | None
    slots_held: int = Field(description="Tasks that workers may run now: those that run, and places kept for the next.")
    starts_held: int = Field(description="Starts that workers have: used within the rate's span, or kept for the next.")
    starts_cooling: int = Field(description="Starts of workers that are gone, whose span is not over.")
    waiting: int = Field(description="Tasks that wait in workers, as of the workers' last word: some seconds ago.")
    processes: int
    holders: list[HolderView] | None = Field(description="Null unless SHOW_TRACEBACKS is set: names of machines.")


class LimitList(BaseModel):
    """The limits in use, by task type."""

    limits: list[LimitView]
    more: bool = Field(description="Whether there are others, which are not listed.")


@router.get("/limits", response_model=LimitList, summary="The limits in use")
async def list_limits(services: Provided) -> Response:
    """The first 200. A limit that no worker uses is not listed."""
    in_use = LimitStore(services.store).in_use
    states, more = await services.threads.run(in_use, most=MOST, now=services.clock())
    inside = services.settings.show_tracebacks
    views = [_view(state, inside=inside) for state in states]
    return json_answer(LimitList(limits=views, more=more).model_dump(mode="json"))


def _view(state: LimitState, *, inside: bool) -> LimitView:
    holders = state.holders
    return LimitView(
        task_type=state.task_type,
        kind=state.kind,
        key=state.key,
        max_concurrency=state.max_concurrency,
        rate=state.rate,
        slots_held=sum(holder.slots.have for holder in holders.values()),
        starts_held=sum(holder.starts.have for holder in holders.values()),
        starts_cooling=sum(each.count for each in state.cooling),
        waiting=sum(holder.waiting for holder in holders.values()),
        processes=len(holders),
        holders=[
            HolderView(
                process=name,
                slots=holder.slots.have,
                starts=holder.starts.have,
                waiting=holder.waiting,
                until=holder.until,
            )
            for name, holder in holders.items()
        ]
        if inside
        else None,
    )
