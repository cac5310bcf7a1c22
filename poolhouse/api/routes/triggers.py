"""Triggers: files that start tasks; listed, and started for files that were there before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.problems import Problem
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.config.triggers import Trigger
from poolhouse.pipeline.messaging.object_events import task_of
from poolhouse.pipeline.nearest import did_you_mean

#: Objects that one call looks at, and so the most tasks that it submits: as many as storage lists at a time.
PAGE_OBJECTS = 1000
#: Names of files that an answer shows.
EXAMPLES = 5

router = APIRouter(tags=["triggers"], route_class=StrictQueryRoute)


class TriggerView(BaseModel):
    """A trigger of pipeline.toml."""

    name: str
    prefix: str = Field(description="Beginning of the names of its objects.")
    suffix: str = Field(description="End of the names of its objects; empty: any.")
    task_type: str
    queue: str
    field: str = Field(description="Field of the payload that gets the file's name.")
    payload: dict[str, Any] = Field(description="The other fields of the payload.")


class TriggerList(BaseModel):
    """The triggers, in the order of pipeline.toml."""

    triggers: list[TriggerView]


class Backfilled(BaseModel):
    """What a page of a backfill came to."""

    files: int = Field(description="Files on this page that start a task.")
    submitted: int = Field(description="Tasks sent to their queue; 0 in a dry run.")
    examples: list[str] = Field(description=f"Names of the first files, {EXAMPLES} at the most.")
    next_page_token: str | None = Field(description="Send it as page_token for the next page; null on the last.")


@router.get("/triggers", response_model=TriggerList, summary="The triggers")
async def list_triggers(services: Provided) -> Response:
    """Of each, which files start which task."""
    return json_answer({"triggers": [_view(trigger, services) for trigger in services.topology.triggers]})


@router.post("/triggers/{name}:backfill", response_model=Backfilled, summary="Start tasks for files that are there")
async def backfill_trigger(
    name: str,
    services: Provided,
    dry_run: Annotated[bool, Query(description="Submit nothing, only count.")] = False,
    page_token: Annotated[str | None, Query(max_length=2000, description="next_page_token of the page before.")] = None,
) -> Response:
    """Goes through the trigger's files, a page a call.

    A version of a file that has started its task already has the same task id here, so it does not run again as long
    as that task's record is kept.
    """
    trigger = _named(name, services)
    page = await services.threads.run(
        services.store.list, trigger.prefix, page_size=PAGE_OBJECTS, page_token=page_token or None
    )
    found = [info for info in page.objects if trigger.takes(info.name)]
    if not dry_run:
        ids, bucket = await services.task_ids(), services.settings.bucket_name
        tasks = [
            task_of(trigger, info.name, info.generation, topology=services.topology, bucket=bucket, task_ids=ids)
            for info in found
        ]
        # Not the time of the file, which its id has: a purge before this call does not mean them.
        now = services.clock()
        sent = [
            services.publisher.submit(await services.hooks.submitting_async(replace(task, submitted_at=now)))
            for task in tasks
        ]
        await asyncio.gather(*map(asyncio.wrap_future, sent))
    return json_answer(
        {
            "files": len(found),
            "submitted": 0 if dry_run else len(found),
            "examples": [info.name for info in found[:EXAMPLES]],
            "next_page_token": page.next_token,
        }
    )


def _named(name: str, services: Services) -> Trigger:
    known = {trigger.name: trigger for trigger in services.topology.triggers}
    if name not in known:
        names = ", ".join(known) or "none"
        raise Problem(404, f"there is no trigger {name!r} (declared: {names}).{did_you_mean(name, known)}")
    return known[name]


def _view(trigger: Trigger, services: Services) -> dict[str, Any]:
    return {**trigger.model_dump(), "queue": services.topology.queue_of(trigger).name}
