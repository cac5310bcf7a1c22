"""`GET /limits`: what workers share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

import pytest
from fastapi.testclient import TestClient

from poolhouse.pipeline import names
from poolhouse.pipeline.limits.limit_store import LimitStore, object_name
from poolhouse.pipeline.limits.rate import Rate
from poolhouse.pipeline.limits.shares import LimitState, Need, Rule, renewed
from poolhouse.pipeline.store import ABSENT, ObjectPage
from poolhouse.testing.doubles import ManualClock, MemoryStore
from tests.kit.unit.api.conftest import Api, application, settings


class Holding(Protocol):
    """A bucket and its time."""

    store: MemoryStore
    clock: ManualClock


def use(api: Holding, tenant: str, **processes: int) -> None:
    """Let processes share the limit of a tenant: how many tasks each runs and awaits."""
    state = LimitState(
        task_type="call",
        kind="limit",
        key={"tenant": tenant},
        rate="10/s",
        max_concurrency=3,
        updated_at=api.clock(),
    )
    for process, wanted in processes.items():
        state = renewed(
            state,
            process,
            rule=Rule(slots=3, rate=Rate(10, 1)),
            slots=Need(0, wanted),
            starts=Need(0, wanted),
            waiting=wanted,
            waiting_since=api.clock(),
            now=api.clock(),
        )
    LimitStore(api.store).write(object_name("call", "limit", state.key), state, if_generation=ABSENT)


def _listed(api: Api) -> list[dict[str, Any]]:
    answer = api.client.get("/limits")
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["limits"]
    return found


def test_without_limits_in_use_there_are_none(api: Api) -> None:
    assert api.client.get("/limits").json() == {"limits": [], "more": False}


def test_a_limit_in_use_shows_what_is_held_and_what_waits_but_no_names_of_machines(api: Api) -> None:
    use(api, "acme", one=3, two=4)
    assert _listed(api) == [
        {
            "task_type": "call",
            "kind": "limit",
            "key": {"tenant": "acme"},
            "max_concurrency": 3,
            "rate": "10/s",
            "slots_held": 3,
            "starts_held": 10,
            "starts_cooling": 0,
            "waiting": 7,
            "processes": 2,
            "holders": None,
        }
    ]


def test_processes_are_named_where_the_inside_is_shown(api: Api) -> None:
    use(api, "acme", one=3)
    app = application(api.store, api.topics, api.clock, environment=settings(show_tracebacks=True))
    with TestClient(app) as client:
        (limit,) = client.get("/limits").json()["limits"]
    assert [(holder["process"], holder["slots"]) for holder in limit["holders"]] == [("one", 3)]


def test_what_only_dead_processes_held_is_not_in_use_once_their_leases_have_ended(api: Api) -> None:
    use(api, "acme", one=3)
    assert len(_listed(api)) == 1
    api.clock.now += timedelta(seconds=60)
    assert _listed(api) == []


def test_an_object_that_is_no_limit_is_left_out(api: Api) -> None:
    for name in ("a/limit-0", "z/limit-0"):
        api.store.put(f"{names.LIMITS}{name}.json", b"[]")
    use(api, "acme", one=1)
    assert [limit["key"] for limit in _listed(api)] == [{"tenant": "acme"}]


def test_a_limit_that_is_deleted_while_they_are_listed_is_left_out(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    use(api, "acme", one=1)
    use(api, "other", one=1)
    listing = api.store.list

    def list_then_delete(*arguments: Any, **options: Any) -> ObjectPage:
        page = listing(*arguments, **options)
        api.store.delete(object_name("call", "limit", {"tenant": "acme"}))
        return page

    monkeypatch.setattr(api.store, "list", list_then_delete)
    assert [limit["key"] for limit in _listed(api)] == [{"tenant": "other"}]


def test_the_first_limits_in_use_are_read_and_whether_there_are_more_is_known(api: Api) -> None:
    for tenant in ("one", "two", "three"):
        use(api, tenant, process=1)
    limits = LimitStore(api.store)
    for most, more in ((1, True), (2, True), (3, False), (4, False)):
        found = limits.in_use(most=most, now=api.clock())
        assert (len(found[0]), found[1]) == (min(most, 3), more)


def test_thousands_of_limits_that_were_in_use_are_listed_but_not_read(api: Api) -> None:
    limits = LimitStore(api.store)
    for number in range(1000):
        unused = LimitState(task_type="a", kind="limit", key={"number": number}, updated_at=api.clock())
        limits.write(object_name("a", "limit", unused.key), unused, if_generation=ABSENT)
    use(api, "acme", one=1)
    before = api.store.calls
    found, more = limits.in_use(most=10, now=api.clock())
    assert ([limit.key for limit in found], more) == ([{"tenant": "acme"}], False)
    assert api.store.calls - before == 3  # two pages, one object


def test_a_limit_has_one_object_whatever_the_order_of_its_fields_and_the_version_of_the_worker() -> None:
    name = "limits/call/limit-36000fdffa29e1373937cbabaf6a529ae6a2afdd.json"
    assert object_name("call", "limit", {"tenant": "Müller", "region": "eu"}) == name
    assert object_name("call", "limit", {"region": "eu", "tenant": "Müller"}) == name
