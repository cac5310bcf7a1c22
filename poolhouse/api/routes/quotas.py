"""The quotas of the API's callers: how much of each has been used today."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.callers.quota import DAY
from poolhouse.api.services import Provided
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.limits.quota_store import QuotaStore

router = APIRouter(tags=["limits"], route_class=StrictQueryRoute)


class QuotaView(BaseModel):
    """The quota of one caller."""

    caller: str = Field(description="As the API's log names it: `key NAME`, or `anonymous`.")
    per_day: int
    used: int = Field(description="Calls let through today, as the instances have last written: some seconds ago.")
    reserved: int = Field(description="Calls that instances may let through beyond those, without asking.")


class QuotaList(BaseModel):
    """The quotas that are declared."""

    day: str = Field(description="Today, in UTC.", examples=["2026-11-29"])
    resets_at: datetime = Field(description="When all quotas start anew.")
    quotas: list[QuotaView]


@router.get("/quotas", response_model=QuotaList, summary="The quotas of callers, and what is used of them")
async def list_quotas(services: Provided) -> Response:
    """Those of the keys, and of callers without one, that have a quota."""
    access = services.settings.api_access
    declared = {} if access is None else access.quotas
    now = services.clock()
    totals = await services.threads.run(QuotaStore(services.store).totals, DAY.of(now), declared) if declared else {}
    views = [
        QuotaView(caller=caller, per_day=per_day, used=total.used, reserved=total.reserved - total.used)
        for caller, per_day in declared.items()
        for total in (totals[caller],)
    ]
    return json_answer(QuotaList(day=DAY.of(now), resets_at=DAY.ends(now), quotas=views).model_dump(mode="json"))
