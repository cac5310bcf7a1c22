"""When schedules run: due times, missed ones, pauses, runs by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from poolhouse.pipeline.messaging.message import LINKS
from poolhouse.pipeline.timing.schedules import MISSED_AFTER_S
from poolhouse.testing.doubles import ManualClock
from tests.kit.unit.worker.scheduler.world import IDS, NOON, World, declared


def test_a_run_is_submitted_at_its_due_time_and_not_before() -> None:
    world = World()
    agenda = world.agenda()
    world.pass_time(3599, agenda)
    assert world.published == []
    world.pass_time(1, agenda)
    (body,) = world.published
    assert body == {
        "task_id": IDS.derive("schedule hourly 2026-06-01T13:00:00.000Z", NOON + timedelta(hours=1)),
        "task_type": "report",
        "submitted_at": "2026-06-01T13:00:00.000Z",
        "rows": 3,
        LINKS: {"schedule": "hourly"},
    }


def test_a_run_goes_to_the_schedules_queue_or_else_to_the_handlers() -> None:
    for queue, topic in (("default", "poolhouse-default"), (None, "poolhouse-bulk")):
        world = World(plan=declared(queue=queue))
        world.pass_time(3600, world.agenda())
        assert [published.topic for published in world.topics.published] == [topic]


def test_a_scheduler_wants_to_be_called_when_something_is_due_and_makes_no_call_until_then() -> None:
    world = World()
    agenda = world.agenda()
    calls = world.store.calls
    for _ in range(100):
        world.clock.forward(30)
        assert agenda.tick(world.clock()) == NOON + timedelta(hours=1)
    assert world.store.calls == calls


def test_every_due_time_of_a_day_with_a_clock_change_is_run_once() -> None:
    world = World(
        plan=declared("30 2 * * *", zone="Europe/Berlin"), clock=ManualClock(datetime(2026, 3, 27, tzinfo=UTC))
    )
    world.pass_time(4 * 86_400, world.agenda())
    assert world.due_times == ["03-27T01:30", "03-28T01:30", "03-29T01:00", "03-30T00:30"]

    world = World(
        plan=declared("30 2 * * *", zone="Europe/Berlin"), clock=ManualClock(datetime(2026, 10, 24, tzinfo=UTC))
    )
    world.pass_time(3 * 86_400, world.agenda())
    assert world.due_times == ["10-24T00:30", "10-25T00:30", "10-26T01:30"]


def test_a_scheduler_that_starts_in_the_hour_that_comes_twice_does_not_repeat_the_run() -> None:
    plan = declared("30 2 * * *", zone="Europe/Berlin", missed_runs="once")
    world = World(plan=plan, clock=ManualClock(datetime(2026, 10, 25, 0, 29, tzinfo=UTC)))
    world.pass_time(120, world.agenda("before"))
    world.clock.forward(1800)
    world.pass_time(3600, world.agenda("after"))
    assert world.due_times == ["10-25T00:30"]


def test_a_run_missed_by_more_than_a_restart_is_skipped() -> None:
    world = World()
    world.agenda("before")
    world.clock.forward(3600 + MISSED_AFTER_S + 1)
    after = world.agenda("after")
    assert world.published == []
    world.pass_time(3600, after)
    assert world.due_times == ["06-01T14:00"]


def test_a_run_that_falls_into_a_restart_is_made_late() -> None:
    world = World()
    world.agenda("before")
    world.clock.forward(3600 + MISSED_AFTER_S - 1)
    world.agenda("after")
    assert world.due_times == ["06-01T13:00"]


def test_missed_runs_are_made_up_for_once_where_the_schedule_says_so() -> None:
    world = World(plan=declared(missed_runs="once"))
    world.agenda("before")
    world.clock.forward(50 * 3600 + 1800)
    world.pass_time(60, world.agenda("after"))
    assert world.due_times == ["06-03T14:00"]
    world.pass_time(600, world.agenda("later"))
    assert world.due_times == ["06-03T14:00"]


def test_nothing_counts_as_missed_from_before_a_schedule_was_declared() -> None:
    world = World(plan=declared(missed_runs="once"))
    world.pass_time(600, world.agenda())
    assert world.published == []


def test_nothing_counts_as_missed_from_before_an_expression_was_changed() -> None:
    world = World(plan=declared("0 0 1 1 *", missed_runs="once"))
    world.agenda("before")
    world.clock.forward(86_400)
    world.plan = declared("0 * * * *", missed_runs="once")
    after = world.agenda("after")
    assert world.published == []
    world.pass_time(3600, after)
    assert world.due_times == ["06-02T13:00"]


def test_a_time_zone_that_was_changed_is_settled_once() -> None:
    world = World()
    world.agenda("before")
    world.plan = declared(zone="Europe/Berlin")
    schedules = world.schedules("after")
    day = NOON + timedelta(days=1)
    changed = schedules.look("hourly", now=day)
    assert (changed.state.time_zone, changed.state.settled_until) == ("Europe/Berlin", day)
    assert schedules.look("hourly", now=day + timedelta(hours=1)) == changed


def test_a_paused_schedule_does_not_run_and_a_resumed_one_does_not_make_up_for_it() -> None:
    world = World(plan=declared(missed_runs="once"))
    agenda, people = world.agenda(), world.schedules("people")
    assert people.pause("hourly", now=world.clock()).paused_at == NOON
    world.pass_time(5 * 3600 + 60, agenda)
    assert world.published == []
    assert people.resume("hourly", now=world.clock()).paused_at is None
    world.pass_time(60, agenda)
    assert world.published == []
    world.pass_time(3600, agenda)
    assert world.due_times == ["06-01T18:00"]


def test_a_pause_in_which_no_scheduler_ran_is_not_made_up_for() -> None:
    world = World(plan=declared(missed_runs="once"))
    people = world.schedules("people")
    people.pause("hourly", now=world.clock())
    world.clock.forward(5 * 3600 + 60)
    people.resume("hourly", now=world.clock())
    world.pass_time(3600, world.agenda())
    assert world.due_times == ["06-01T18:00"]


def test_a_pause_before_any_scheduler_ran_holds() -> None:
    world = World()
    world.schedules("people").pause("hourly", now=world.clock())
    world.pass_time(7200, world.agenda())
    assert world.published == []


def test_a_second_pause_does_not_move_the_first() -> None:
    world = World()
    people = world.schedules()
    people.pause("hourly", now=world.clock())
    written = people.read("hourly")
    assert people.pause("hourly", now=world.clock.now + timedelta(hours=1)).paused_at == NOON
    assert people.read("hourly") == written  # not even written again


def test_a_run_by_hand_is_submitted_at_once_and_leaves_the_times_as_they_are() -> None:
    world = World()
    agenda, people = world.agenda(), world.schedules("people")
    people.pause("hourly", now=world.clock())
    world.clock.forward(1800)
    task_id, message_id = people.run("hourly", now=world.clock())
    assert [body["task_id"] for body in world.published] == [task_id]
    assert message_id == world.topics.published[0].message_id
    known = people.read("hourly")
    assert known is not None
    assert known.state.last_run is not None
    assert (known.state.last_run.task_id, known.state.last_run.by_hand) == (task_id, True)
    assert known.state.paused_at is not None
    people.resume("hourly", now=world.clock())
    world.pass_time(1800, agenda)
    assert world.due_times == ["06-01T12:30", "06-01T13:00"]


def test_two_runs_by_hand_are_two_tasks() -> None:
    world = World()
    people = world.schedules()
    assert people.run("hourly", now=NOON)[0] != people.run("hourly", now=NOON)[0]
