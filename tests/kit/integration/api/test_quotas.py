"""A quota that two instances of the API share, over a real storage server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from poolhouse.api import create_app
from poolhouse.api.callers import quota
from poolhouse.pipeline.config.api_access import ApiAccess, ApiKey, digest
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import open_store
from poolhouse.testing.doubles import ManualClock, MemoryTopics

PER_DAY = 40
#: Where nothing is: a call that is let through costs nothing, and is answered 404.
PATH = "/nothing"


def test_two_instances_together_let_a_days_calls_through_and_a_third_one_finds_none_left(
    poolhouse_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "_WAIT_S", 60)  # however slow the machine is, storage is not down
    key = ApiKey(sha256=digest("key"), may=("operate",), per_day=PER_DAY)
    settings = poolhouse_settings.model_copy(
        update={"api_access": ApiAccess(keys={"shop": key}), "storage_timeout_s": 30}
    )
    clock = ManualClock()

    def instance() -> TestClient:
        publisher = Publisher(settings, topics=MemoryTopics())
        app = create_app(settings, store=open_store(settings), publisher=publisher, clock=clock)
        return TestClient(app, headers={"X-API-Key": "key"})

    def calls(client: TestClient) -> list[int]:
        return [client.get(PATH).status_code for _ in range(PER_DAY)]

    with instance() as first, instance() as second:
        with ThreadPoolExecutor() as threads:  # both start in the same second
            statuses = [status for some in threads.map(calls, (first, second)) for status in some]
        assert set(statuses) == {404, 429}
        assert statuses.count(404) <= PER_DAY
    with instance() as third:
        rest = calls(third)  # what one instance had reserved when the other was refused
        assert statuses.count(404) + rest.count(404) == PER_DAY
        refused = third.get(PATH)
    assert (refused.status_code, refused.json()["quota"], refused.json()["limit"]) == (429, "per_day", PER_DAY)
