"""Quotas of callers: calls in a UTC day, over all instances of the API."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from poolhouse.api.callers import CallerCheck, quota
from poolhouse.pipeline import names
from poolhouse.pipeline.config.api_access import ApiAccess, ApiKey, digest
from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.limits import reservation
from poolhouse.pipeline.limits.quota_store import QuotaStore
from poolhouse.pipeline.store import ObjectStore
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.waiting import until

from .conftest import application, settings

TASK = {"task_type": "anything"}


def access(**fields: Any) -> ApiAccess:
    return ApiAccess(keys={"shop": ApiKey(sha256=digest("key"), may=("submit",), **fields)})


class Instances:
    """Instances of the API over one bucket, with time between any two looks at the clock that measures pauses."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), ManualClock()
        self._running = ExitStack()

    def start(self, rules: ApiAccess, *, store: ObjectStore | None = None) -> Callable[..., Any]:
        store = store or self.store
        app = application(self.store, MemoryTopics(), self.clock)
        ticks = itertools.count(0.0, 4.0)
        made = quota.declared(
            rules,
            store=QuotaStore(store),
            run=app.state.services.threads.run,
            now=self.clock,
            monotonic=lambda: next(ticks),
        )
        client = self._running.enter_context(
            TestClient(CallerCheck(app, access=rules, quotas=made, clock=lambda: self.clock().timestamp()))
        )

        def submit(key: str | None = "key", *, path: str = "/tasks") -> Any:
            return client.post(path, json=TASK, headers={} if key is None else {"X-API-Key": key})

        return submit

    def close(self) -> None:
        self._running.close()


def drain(*submits: Callable[..., Any]) -> int:
    """Call instances in turn until each of them says that nothing is left; how many calls they let through."""
    through = 0
    until_s = time.monotonic() + 60
    while True:
        answers = [submit() for submit in submits]
        through += [answer.status_code for answer in answers].count(202)
        if all("is used up" in answer.json().get("error", "") for answer in answers):
            return through
        assert time.monotonic() < until_s, answers[-1].text


@pytest.fixture
def instances() -> Iterator[Instances]:
    made = Instances()
    yield made
    made.close()


def test_a_quota_lets_so_many_calls_through_and_says_when_it_starts_anew(instances: Instances) -> None:
    submit = instances.start(access(per_day=3))
    instances.clock.now = datetime(2026, 3, 1, 18, 0, 0, 500_000, UTC)
    answers = [submit() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert [answer.headers["ratelimit"] for answer in answers] == [f'"day";r={left};t=21600' for left in (2, 1, 0, 0)]
    assert answers[0].headers["ratelimit-policy"] == '"day";q=3;w=86400'
    refused = answers[-1]
    assert refused.headers["retry-after"] == "21600"
    assert {name: refused.json()[name] for name in ("error", "quota", "limit", "resets_at")} == {
        "error": "the quota of key shop, 3 calls a day, is used up: it starts anew at 2026-03-02T00:00:00Z",
        "quota": "per_day",
        "limit": 3,
        "resets_at": "2026-03-02T00:00:00Z",
    }
    instances.clock.now = datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC)
    assert (submit().status_code, submit().headers["retry-after"]) == (429, "1")
    instances.clock.forward(0.000_001)
    assert [submit().status_code for _ in range(4)] == [202, 202, 202, 429]


def test_instances_share_a_quota_and_one_that_starts_anew_finds_what_is_used(instances: Instances) -> None:
    first, second = (instances.start(access(per_day=14)) for _ in range(2))
    begun = [submit().status_code for submit in (first, second)].count(202)
    restarted = instances.start(access(per_day=14))  # the others are not asked for a last write
    assert begun + drain(restarted, first, second) == 14


def test_what_another_instance_has_reserved_may_come_back_soon(instances: Instances) -> None:
    submit = instances.start(access(per_day=4))
    other = names.quota(quota.DAY.of(instances.clock()), "key shop", "other")
    instances.store.put(other, b"{}", metadata={"used": "1", "reserved": "4"})
    refused = submit()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
    assert "is reserved by other instances of the API: try again" in refused.json()["error"]
    instances.store.put(other, b"{}", metadata={"used": "1", "reserved": "1"})
    assert drain(submit) == 3


def test_only_calls_that_are_let_through_count(instances: Instances) -> None:
    submit = instances.start(access(per_day=2))
    assert submit(path="/queues/default:pause").status_code == 403
    assert submit("guess").status_code == 401
    assert submit(None).status_code == 401
    assert [submit().status_code for _ in range(3)] == [202, 202, 429]


def test_callers_without_a_key_share_a_quota(instances: Instances) -> None:
    rules = access().model_copy(update={"anonymous": "submit", "anonymous_per_day": 2})
    submit = instances.start(rules)
    assert [submit(None).status_code for _ in range(3)] == [202, 202, 429]
    assert submit().status_code == 202


def test_a_rate_that_instances_share_holds_for_each_minute_of_the_clock(instances: Instances) -> None:
    rules = access(per_minute=4, per_day=100).model_copy(update={"share_rates": True})
    submits = [instances.start(rules) for _ in range(2)]
    instances.clock.forward(20.5)
    answer = submits[0]()
    assert answer.headers["ratelimit-policy"] == '"minute";q=4;w=60, "day";q=100;w=86400'
    assert answer.headers["ratelimit"] == '"minute";r=3;t=40, "day";r=99;t=43180'
    assert drain(*submits) == 3
    refused = submits[0]()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "40")
    assert {name: refused.json()[name] for name in ("quota", "limit", "resets_at")} == {
        "quota": "per_minute",
        "limit": 4,
        "resets_at": "2026-03-01T12:01:00Z",
    }
    instances.clock.forward(39.5)
    assert drain(*submits) == 4


def test_guesses_of_keys_are_limited_where_the_rate_is_shared(instances: Instances) -> None:
    rules = access().model_copy(update={"anonymous": "submit", "anonymous_per_minute": 2, "share_rates": True})
    submit = instances.start(rules)
    assert [submit("guess").status_code for _ in range(3)] == [401, 401, 429]
    assert submit(None).status_code == 202


def test_a_rate_that_is_not_shared_asks_storage_for_nothing(instances: Instances) -> None:
    submit = instances.start(access(per_minute=2))
    assert [submit().status_code for _ in range(3)] == [202, 202, 429]
    assert instances.store.names("quotas/") == ()


def test_a_new_window_does_not_wait_again_for_storage_that_is_down(
    instances: Instances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservation, "PAUSE_S", 3_600.0)
    store = MemoryStore()
    store.failure = StoreUnavailable("down")
    submit = instances.start(access(per_day=9), store=store)
    assert submit().status_code == 202
    calls = store.calls
    instances.clock.forward(86_400)
    assert submit().status_code == 202
    assert store.calls == calls


def test_while_storage_is_down_calls_go_by_what_is_known_and_none_is_forgotten(instances: Instances) -> None:
    submit = instances.start(access(per_day=10))
    assert submit().status_code == 202
    instances.store.failure = StoreUnavailable("down")
    assert [submit().status_code for _ in range(10)] == [202] * 9 + [429]
    instances.store.failure = None
    (name,) = instances.store.names("quotas/")
    until(lambda: submit().status_code and instances.store.stat(name).metadata["used"] == "10", "the count's write")
    assert drain(instances.start(access(per_day=12)), submit) == 2


def test_an_instance_that_storage_never_answered_goes_by_its_own_count(instances: Instances) -> None:
    store = MemoryStore()
    store.failure = StoreUnavailable("down")
    submit = instances.start(access(per_day=3), store=store)
    assert [submit().status_code for _ in range(4)] == [202, 202, 202, 429]


def test_a_call_does_not_wait_for_storage_that_hangs(instances: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "_WAIT_S", 0.01)
    hangs = threading.Event()
    store = MemoryStore()
    monkeypatch.setattr(store, "check", hangs.wait)
    submit = instances.start(access(per_day=2), store=store)
    try:
        assert [submit().status_code for _ in range(3)] == [202, 202, 429]
    finally:
        hangs.set()


def test_a_clock_that_is_set_back_over_midnight_joins_the_count_of_its_day(instances: Instances) -> None:
    submit = instances.start(access(per_day=5))
    instances.clock.now = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    assert submit().status_code == 202
    instances.clock.forward(1)
    assert submit().status_code == 202
    instances.clock.forward(-1)
    # One is used; what the clock's first stay had reserved beyond it is not given to others.
    assert 1 <= [submit().status_code for _ in range(6)].count(202) <= 4


def test_a_call_without_a_quota_costs_no_call_of_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservation, "AHEAD_S", 3_600.0)
    rules = access(per_minute=100).model_copy(update={"anonymous": "submit", "anonymous_per_minute": 100})
    rules.keys["other"] = ApiKey(sha256=digest("other"), may=("submit",), per_day=100)

    def calls(rules: ApiAccess | None, key: str | None) -> int:
        store = MemoryStore()
        environment = settings(api_access=None if rules is None else rules.model_dump_json())
        app = application(store, MemoryTopics(), ManualClock(), environment=environment)
        with TestClient(app) as client:
            client.get("/ready")
            headers = {} if key is None else {"X-API-Key": key}
            for _ in range(5):
                answer = client.post("/tasks", json=TASK, headers=headers)
                assert answer.status_code == 202
                assert ("ratelimit" in answer.headers) == (key == "other")
        assert bool(store.names("quotas/")) == (key == "other")
        return store.calls

    plain = calls(None, None)
    assert calls(rules, None) == calls(rules, "key") == plain
    # A write with a listing, and the same when the instance ends.
    assert calls(rules, "other") == plain + 4


def test_an_instance_that_ends_gives_back_what_it_has_not_used() -> None:
    store, clock, said = MemoryStore(), ManualClock(), list[Mapping[str, str]]()

    def see(name: str) -> None:
        if name.startswith("quotas/"):
            said.append(store.stat(name).metadata)

    store.after_write = see
    environment = settings(api_access=access(per_day=100).model_dump_json())
    with TestClient(application(store, MemoryTopics(), clock, environment=environment)) as client:
        client.post("/tasks", json=TASK, headers={"X-API-Key": "key"})
    assert said[0] == {"used": "0", "reserved": "10"}
    assert said[-1] == {"used": "1", "reserved": "1"}


def test_the_quotas_in_force_are_listed_with_what_is_used_of_them() -> None:
    store, clock = MemoryStore(), ManualClock()
    rules = access(per_day=100, per_minute=30).model_copy(update={"anonymous": "read", "anonymous_per_day": 7})
    rules.keys["ops"] = ApiKey(sha256=digest("ops"), may=("operate",))
    today = quota.DAY.of(clock())
    for caller, instance in (("key shop", "a"), ("key shop", "b"), ("key removed", "a")):
        store.put(names.quota(today, caller, instance), b"{}", metadata={"used": "2", "reserved": "5"})
    store.put(names.quota("2026-02-28", "key shop", "a"), b"{}", metadata={"used": "90", "reserved": "90"})
    environment = settings(api_access=rules.model_dump_json())
    with TestClient(application(store, MemoryTopics(), clock, environment=environment)) as client:
        assert client.get("/quotas").status_code == 401  # who has a key is for operators
        answer = client.get("/quotas", headers={"X-API-Key": "ops"}).json()
    assert answer == {
        "day": "2026-03-01",
        "resets_at": "2026-03-02T00:00:00Z",
        "quotas": [
            {"caller": "anonymous", "per_day": 7, "used": 0, "reserved": 0},
            {"caller": "key shop", "per_day": 100, "used": 4, "reserved": 6},
        ],
        "rates": [],
    }


def test_rates_that_all_instances_share_are_listed_with_what_is_used_in_this_minute() -> None:
    store, clock = MemoryStore(), ManualClock()
    rules = access(per_minute=30).model_copy(update={"share_rates": True})
    rules.keys["ops"] = ApiKey(sha256=digest("ops"), may=("operate",))
    for minutes, used in ((0, "12"), (-1, "30")):
        window = quota.MINUTE.of(clock() + timedelta(minutes=minutes))
        store.put(names.quota(window, "key shop", "a"), b"{}", metadata={"used": used, "reserved": "15"})
    environment = settings(api_access=rules.model_dump_json())
    with TestClient(application(store, MemoryTopics(), clock, environment=environment)) as client:
        answer = client.get("/quotas", headers={"X-API-Key": "ops"}).json()
    assert answer["quotas"] == []
    assert answer["rates"] == [{"caller": "key shop", "per_minute": 30, "used": 12, "reserved": 3}]


def test_without_quotas_the_list_is_empty_and_asks_for_nothing() -> None:
    store = MemoryStore()
    with TestClient(application(store, MemoryTopics(), ManualClock())) as client:
        client.get("/ready")
        before = store.calls
        assert client.get("/quotas").json()["quotas"] == []
        assert store.calls == before
