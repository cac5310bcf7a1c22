"""What is wrong is named, and ends no scheduler: declarations, clocks, what lies in the bucket."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.timing.schedules import Schedules, problem_of
from poolhouse.testing.doubles import ManualClock
from poolhouse.worker.registry import Registry
from poolhouse.worker.scheduler import Scheduler
from tests.kit.unit.worker.scheduler.world import NOON, REGISTRY, World, declared
from tests.kit.waiting import until


def test_a_state_that_can_not_be_read_names_the_object() -> None:
    world = World()
    world.store.put("schedules/hourly.json", b"{}")
    with pytest.raises(ConfigError, match=r"schedules/hourly\.json"):
        world.schedules().read("hourly")


def test_a_payload_that_does_not_fit_or_an_unknown_type_is_named() -> None:
    (plan,) = declared(rows="many").schedules
    assert (problem_of(plan, REGISTRY) or "").startswith("payload.rows: ")
    assert problem_of(plan, Registry([])) == "unknown task type 'report' (known: none)"
    assert problem_of(declared().schedules[0], REGISTRY) is None


def test_a_payload_of_toml_that_is_not_json_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"p:3: schedules\.s\.payload: .*dates"):
        topology.parse(
            '[queues.q]\n[schedules.s]\npayload = { day = 2026-01-01 }\ncron = "* * * * *"\ntask_type = "t"', source="p"
        )


def test_a_scheduler_runs_what_can_run_and_stops_when_asked() -> None:
    world = World(plan=declared("* * * * *"))
    broken = world.plan.schedules[0].model_copy(update={"name": "broken", "task_type": "gone"})
    world.plan = world.plan.model_copy(update={"schedules": (broken, *world.plan.schedules)})
    settings = Settings(google_cloud_project="unit", bucket_name="unit-bucket", publish_timeout_s=1)
    settings.__dict__["topology"] = world.plan
    scheduler = Scheduler(
        settings,
        registry=REGISTRY,
        store=world.store,
        publisher=Publisher(settings, topics=world.topics),
        now=_fast_clock(),
    )
    scheduler.start()
    try:
        until(lambda: world.topics.published, "a run")
        assert not scheduler.wait(0)
    finally:
        scheduler.stop("the test is over")
        assert scheduler.wait(5)
    assert {body["task_type"] for body in world.published} == {"report"}
    assert world.topics.closed


def _fast_clock() -> Any:
    """A clock on which more than a minute has passed at each look: whoever waits for the next minute waits no time."""
    clock = ManualClock(NOON)
    return lambda: clock.forward(61)


@pytest.mark.parametrize("ahead", [timedelta(minutes=2), timedelta(hours=8), timedelta(days=3652)])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_clock_that_was_ahead_for_two_minutes_silences_no_schedule(ahead: timedelta, *, restarted: bool) -> None:
    world = World(plan=declared("* * * * *"))
    agenda = world.agenda()
    world.clock.now = NOON + ahead
    for _ in range(4):
        agenda.tick(world.clock())
        world.clock.forward(30)
    world.clock.now = NOON
    before = len(world.published)
    if restarted:
        agenda = world.agenda("two")
    for _ in range(60):  # a scheduler sleeps no longer than half a minute
        world.settle(agenda)
        world.clock.forward(30)
    world.settle(agenda)
    due = {body["submitted_at"] for body in world.published[before:]}
    assert len(due) >= 28
    assert len(world.published[before:]) <= 31
    assert max(due) <= "2026-06-01T12:30:00.000Z"


@pytest.mark.parametrize(
    "state",
    [
        {"settled_until": "9999-12-31T23:59:59Z"},
        {"settled_until": "9999-12-31T23:59:59-14:00"},
        {"settled_until": "0001-01-01T00:00:00+14:00"},
        {"settled_until": "2099-01-01T00:00:00Z"},
        {"settled_until": "2026-06-01T12:00:00"},
        {"settled_until": 10**30},
        {"settled_until": None},
        {"cron": None},
        {"cron": "other", "time_zone": "Mars"},
        {
            "last_run": {
                "task_id": "x",
                "due_at": "9999-12-31T23:59:59Z",
                "owner": "o",
                "claimed_at": "9999-12-31T23:59:59Z",
            }
        },
        {
            "last_run": {
                "task_id": "x",
                "due_at": "0001-01-01T00:00:00Z",
                "owner": "o",
                "claimed_at": "0001-01-01T00:00:00Z",
            }
        },
        {"last_run": []},
        [],
        "text",
        None,
    ],
)
def test_whatever_is_in_the_bucket_ends_no_scheduler(state: Any) -> None:
    world = World(plan=declared("* * * * *"))
    whole = {"cron": "* * * * *", "time_zone": "Etc/UTC", "settled_until": "2026-06-01T12:00:00Z"}
    text = json.dumps({**whole, **state} if isinstance(state, dict) else state)
    world.store.put("schedules/hourly.json", text.encode())
    agenda = world.agenda()
    world.pass_time(600, agenda)
    world.store.delete("schedules/hourly.json")
    before = len(world.published)
    world.pass_time(600, agenda)
    assert len(world.published) - before >= 9


def test_an_error_that_is_not_expected_ends_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(plan=declared("* * * * *"))
    agenda = world.agenda()
    with monkeypatch.context() as broken:
        broken.setattr(Schedules, "look", lambda *args, **kwargs: 1 / 0)
        world.pass_time(120, agenda)
    assert world.published == []
    world.pass_time(300, agenda)
    assert len(world.published) >= 4
