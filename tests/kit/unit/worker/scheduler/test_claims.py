"""Each run is submitted once, whoever dies, comes second or gets no answer."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from poolhouse.pipeline.errors import Conflict, PreconditionFailed, QueueUnavailable, StoreUnavailable
from poolhouse.pipeline.timing.schedules import CLAIM_S
from poolhouse.worker.scheduler import RETRY_S, SchedulePlanner
from tests.kit.unit.worker.scheduler.world import NOON, World, declared


def test_of_two_schedulers_one_submits_each_run() -> None:
    world = World()
    agendas = [world.agenda("one"), world.agenda("two")]
    world.pass_time(5 * 3600, *agendas)
    assert world.due_times == ["06-01T13:00", "06-01T14:00", "06-01T15:00", "06-01T16:00", "06-01T17:00"]


def test_of_many_schedulers_at_the_same_instant_one_submits_the_run() -> None:
    world = World()
    agendas = [world.agenda(str(number)) for number in range(8)]
    world.clock.forward(3600)
    together = threading.Barrier(len(agendas))

    def run(agenda: SchedulePlanner) -> None:
        together.wait()
        for _ in range(3):
            agenda.tick(world.clock())

    threads = [threading.Thread(target=run, args=(agenda,)) for agenda in agendas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.due_times == ["06-01T13:00"]


def test_a_run_is_tried_again_until_the_queue_takes_it() -> None:
    world = World()
    agenda = world.agenda()
    world.topics.down = True
    world.pass_time(3600, agenda)
    assert agenda.tick(world.clock()) == world.clock() + timedelta(seconds=RETRY_S)
    world.pass_time(600, agenda)
    assert world.published == []
    world.topics.down = False
    world.pass_time(RETRY_S, agenda)
    assert world.due_times == ["06-01T13:00"]


def test_a_bucket_that_is_down_only_delays() -> None:
    world = World()
    agenda = world.agenda()
    world.store.failure = StoreUnavailable("down")
    world.pass_time(3600 + 20, agenda)
    world.store.failure = None
    world.pass_time(RETRY_S, agenda)
    assert world.due_times == ["06-01T13:00"]


def test_a_run_claimed_by_a_scheduler_that_died_is_taken_over_as_the_same_task() -> None:
    world = World()
    dead, heir = world.agenda("dead"), world.agenda("heir")
    world.clock.forward(3600)
    # Published, then killed before it could note that.
    world.store.before_write = lambda name: _die_if(bool(world.published))
    with pytest.raises(SystemExit):
        world.settle(dead)
    world.store.before_write = lambda name: None
    world.pass_time(CLAIM_S - 1, heir)
    assert len(world.published) == 1
    world.pass_time(1, heir)
    first, second = world.published
    assert first["task_id"] == second["task_id"]
    world.pass_time(600, heir, world.agenda("third"))
    assert len(world.published) == 2


def test_a_run_that_is_taken_over_belongs_to_its_heir_for_as_long_as_to_the_first() -> None:
    world = World()
    first, heir, third = (world.schedules(owner) for owner in ("first", "heir", "third"))
    due_at = NOON + timedelta(hours=1)
    claimed = first.claim("hourly", first.look("hourly", now=NOON), due_at=due_at, now=due_at)
    later = due_at + timedelta(seconds=CLAIM_S)
    taken = heir.take_over("hourly", claimed, now=later)
    assert heir.read("hourly") == taken
    before, run = claimed.state.pending, taken.state.pending
    assert before is not None
    assert run == before.model_copy(update={"owner": "heir", "claimed_at": later})
    assert run.claim_expires_at(now=later) == later + timedelta(seconds=CLAIM_S)
    with pytest.raises(PreconditionFailed):
        third.take_over("hourly", claimed, now=later)


def _die_if(condition: bool) -> None:
    if condition:
        raise SystemExit


def test_a_pause_between_claim_and_note_is_kept() -> None:
    world = World()
    agenda, people = world.agenda(), world.schedules("people")
    world.topics.down = True
    world.pass_time(3600, agenda)
    people.pause("hourly", now=world.clock())
    world.topics.down = False
    world.pass_time(7200, agenda)
    known = people.read("hourly")
    assert known is not None
    assert known.state.paused_at is not None
    assert known.state.pending is None
    assert world.due_times == ["06-01T13:00"]


def test_a_write_whose_answer_was_lost_is_recognised_as_ones_own() -> None:
    world = World()
    people = world.schedules()
    stored = people.look("hourly", now=NOON)
    real = world.store.put

    def lossy(name: str, data: bytes, **options: Any) -> int:
        real(name, data, **options)
        raise PreconditionFailed("the repeated request came second")

    world.store.put = lossy  # type: ignore[method-assign]
    claimed = people.claim("hourly", stored, due_at=NOON, now=NOON)
    assert claimed == people.read("hourly")
    assert people.pause("hourly", now=NOON).paused_at == NOON


def test_a_change_is_tried_again_where_another_wrote_in_between_and_is_a_conflict_where_that_never_ends() -> None:
    world = World()
    people = world.schedules()
    real, left = world.store.put, 3

    def put(name: str, data: bytes, **options: Any) -> int:
        nonlocal left
        if left:
            left -= 1
            raise PreconditionFailed("another wrote first")
        return real(name, data, **options)

    world.store.put = put  # type: ignore[method-assign]
    assert people.pause("hourly", now=NOON).paused_at == NOON
    people.resume("hourly", now=NOON)
    left = 1_000_000
    with pytest.raises(Conflict, match="schedule hourly changes all the time"):
        people.pause("hourly", now=NOON)
    due_at = NOON + timedelta(seconds=1)
    with pytest.raises(Conflict, match="schedule hourly changes all the time"):
        people.run_at("hourly", due_at=due_at, now=due_at)
    # What is remembered of a run by hand is only for people to see.
    by_hand = [people.run("hourly", now=NOON)[0]]
    world.store.failure = StoreUnavailable("down")
    by_hand.append(people.run("hourly", now=NOON)[0])
    world.store.failure, left = None, 3
    run = people.run_at("hourly", due_at=due_at, now=due_at)
    assert run is not None
    assert [body["task_id"] for body in world.published] == [*by_hand, run.task_id]


def test_a_due_time_that_could_not_be_published_is_claimed_anew_when_it_is_asked_for_again() -> None:
    world = World()
    people = world.schedules()
    world.topics.down = True
    with pytest.raises(QueueUnavailable):
        people.run_at("hourly", due_at=NOON, now=NOON)
    world.topics.down = False
    later = NOON + timedelta(hours=20)
    run = people.run_at("hourly", due_at=NOON, now=later)
    assert run is not None
    assert (run.due_at, run.claimed_at, run.published_at) == (NOON, later, later)
    assert people.run_at("hourly", due_at=NOON, now=later) is None
    assert world.due_times == ["06-01T12:00"]


def test_a_run_by_hand_leaves_one_that_is_still_to_be_published_as_it_is() -> None:
    world = World()
    people = world.schedules()
    due_at = NOON + timedelta(hours=1)
    claimed = people.claim("hourly", people.look("hourly", now=NOON), due_at=due_at, now=due_at)
    people.run("hourly", now=due_at)
    assert people.read("hourly") == claimed


def test_a_claim_of_a_wrong_clock_is_taken_over() -> None:
    world = World(plan=declared("* * * * *"))
    world.agenda()
    world.clock.now = NOON + timedelta(days=400)
    world.topics.down = True
    world.agenda("gone").tick(world.clock())
    world.topics.down = False
    world.clock.now = NOON + timedelta(minutes=1)
    agenda = world.agenda("two")
    world.pass_time(300, agenda)
    assert len(world.published) >= 4
