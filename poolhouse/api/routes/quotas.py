"""The quotas of the API's callers: how much of each has been used today."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.callers.quota import DAY, MINUTE, Window
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.config.api_access import ApiAccess
from poolhouse.pipeline.limits.quota_store import QuotaStore

router = APIRouter(tags=["limits"], route_class=StrictQueryRoute)


class _Used(BaseModel):
    caller: str = Field(description="As the API's log names it: `key NAME`, or `anonymous`.")
    used: int = Field(description="Calls let through, as the instances have last written: some seconds ago.")
    reserved: int = Field(description="Calls that instances may let through beyond those, without asking.")


class QuotaView(_Used):
    """The quota of one caller, and what is used of it today."""

    per_day: int


class SharedRateView(_Used):
    """The rate of one caller that all instances share, and what is used of it in this minute."""

    per_minute: int


class QuotaList(BaseModel):
    """The quotas that are declared."""

    day: str = Field(description="Today, in UTC.", examples=["2026-11-29"])
    resets_at: datetime = Field(description="When all quotas start anew.")
    quotas: list[QuotaView]
    rates: list[SharedRateView] = Field(description="Empty unless `share_rates` is declared.")


@router.get("/quotas", response_model=QuotaList, summary="The quotas of callers, and what is used of them")
async def list_quotas(services: Provided) -> Response:
    """Those of the keys, and of callers without one, that have a quota or a shared rate."""
    access = services.settings.api_access or ApiAccess()
    quotas, rates = await asyncio.gather(
        _used(DAY, access.quotas, services), _used(MINUTE, access.shared_rates, services)
    )
    now = services.clock()
    answer = QuotaList(
        day=DAY.of(now),
        resets_at=DAY.ends(now),
        quotas=[QuotaView(per_day=access.quotas[each["caller"]], **each) for each in quotas],
        rates=[SharedRateView(per_minute=access.shared_rates[each["caller"]], **each) for each in rates],
    )
    return json_answer(answer.model_dump(mode="json"))


async def _used(window: Window, declared: Mapping[str, int], services: Services) -> list[dict[str, Any]]:
    """What callers have used in the window that runs; asks storage only where there are such callers."""
    if not declared:
        return []
    store = QuotaStore(services.store)
    totals = await services.threads.run(store.totals, window.of(services.clock()), declared)
    return [
        {"caller": caller, "used": totals[caller].used, "reserved": totals[caller].reserved - totals[caller].used}
        for caller in declared
    ]
