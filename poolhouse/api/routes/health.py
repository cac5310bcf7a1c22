"""Whether the service is alive, and whether what it stands on is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Literal

import structlog
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from poolhouse.api import problems
from poolhouse.api.answers import json_answer
from poolhouse.api.services import Provided
from poolhouse.pipeline.errors import PoolhouseError

router = APIRouter(tags=["health"])
_log = structlog.get_logger("api")


class Health(BaseModel):
    """The process answers."""

    status: Literal["healthy"] = "healthy"


class Readiness(BaseModel):
    """Queue and bucket answer too."""

    status: Literal["ready"] = "ready"
    queue: Literal["ok", "down"] = "ok"
    bucket: Literal["ok", "down"] = "ok"


@router.head("/health", include_in_schema=False)  # what monitors of availability ask, many of them by default
@router.get("/health", response_model=Health, summary="Is the process alive?")
async def health() -> Response:
    """Ask nothing else."""
    return json_answer({"status": "healthy"})


@router.head("/ready", include_in_schema=False)
@router.get("/ready", response_model=Readiness, summary="Do queue and bucket answer?")
async def ready(services: Provided) -> Response:
    """503 with what is missing where one of them does not."""
    queue, bucket = await asyncio.gather(
        _check(asyncio.to_thread(services.publisher.check)), _check(services.threads.run(services.store.check))
    )
    if queue == bucket == "ok":
        return json_answer({"status": "ready", "queue": queue, "bucket": bucket})
    down = "; ".join(f"{name}: {state}" for name, state in (("queue", queue), ("bucket", bucket)) if state != "ok")
    return problems.unavailable(f"not ready: {down}", queue=queue, bucket=bucket).response()


async def _check(check: Awaitable[None]) -> Literal["ok", "down"]:
    try:
        await check
    except PoolhouseError as error:
        _log.warning("not ready", error=str(error))  # hosts and names are for the log alone
        return "down"
    return "ok"
