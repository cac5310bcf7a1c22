"""A quota that two instances of the API share, over a real storage server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from poolhouse.api.callers import CallerCheck, quota
from poolhouse.pipeline.config.api_access import ApiAccess, ApiKey, digest
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.limits.quota_store import QuotaStore
from poolhouse.pipeline.store import open_store
from poolhouse.testing.doubles import ManualClock

PER_DAY = 24
ACCESS = ApiAccess(keys={"shop": ApiKey(sha256=digest("key"), may=("operate",), per_day=PER_DAY)})


def instance(settings: Settings, clock: ManualClock) -> TestClient:
    """An application where nothing is, behind the check of its callers: what is let through is answered 404."""
    store = QuotaStore(open_store(settings))
    counted = quota.declared(ACCESS, store=store, run=asyncio.to_thread, now=clock)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        for each in counted["key shop"]:
            await each.close()

    check = CallerCheck(Starlette(lifespan=lifespan), access=ACCESS, quotas=counted)
    return TestClient(check, headers={"X-API-Key": "key"})


def calls(client: TestClient) -> list[int]:
    return [client.get("/").status_code for _ in range(PER_DAY)]


def test_two_instances_together_let_a_days_calls_through_and_a_third_one_finds_none_left(
    poolhouse_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "_WAIT_S", 60)  # however slow the machine is, storage is not down
    settings, clock = poolhouse_settings.model_copy(update={"storage_timeout_s": 30}), ManualClock()
    with instance(settings, clock) as first, instance(settings, clock) as second:
        with ThreadPoolExecutor() as threads:  # both start in the same second
            statuses = [status for some in threads.map(calls, (first, second)) for status in some]
        assert set(statuses) == {404, 429}
        assert statuses.count(404) <= PER_DAY
    with instance(settings, clock) as third:
        rest = calls(third)  # what one instance had reserved when the other was refused
        assert statuses.count(404) + rest.count(404) == PER_DAY
        refused = third.get("/")
    assert (refused.status_code, refused.json()["quota"], refused.json()["limit"]) == (429, "per_day", PER_DAY)
