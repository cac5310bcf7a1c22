"""The index of tasks: compared with the records on request."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.services import Provided
from poolhouse.api.strict_query import StrictQueryRoute

router = APIRouter(tags=["tasks"], route_class=StrictQueryRoute)


class Rebuild(BaseModel):
    """What a rebuild of the index did."""

    records: int = Field(description="Records in the bucket.")
    corrected: int = Field(description="Those that the index did not have, or had with another status.")
    removed: int = Field(description="Tasks of the index whose records are gone.")
    seconds: float


@router.post("/index:rebuild", response_model=Rebuild, summary="Compare the index of tasks with the records")
async def rebuild_index(services: Provided) -> Response:
    """Lists all records and reads those that the index has otherwise. Listings wait until it is done."""
    return json_answer(asdict(await services.threads.run(services.index.rebuild)))
