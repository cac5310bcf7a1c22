"""`GET /limits`: what workers share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

from fastapi.testclient import TestClient

from poolhouse.pipeline import names
from poolhouse.pipeline.limits.limit_store import object_name
from poolhouse.pipeline.limits.rate import Rate
from poolhouse.pipeline.limits.shares import LimitState, Need, Rule, renewed
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
    api.store.put(object_name("call", "limit", {"tenant": tenant}), state.model_dump_json().encode())


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
    api.store.put(f"{names.LIMITS}call/limit-x.json", b"[]")
    use(api, "acme", one=1)
    assert [limit["key"] for limit in _listed(api)] == [{"tenant": "acme"}]
