from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import ConfigError, Conflict, PreconditionFailed, QueueUnavailable, StoreUnavailable
from poolhouse.pipeline.messaging.message import LINKS
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.schedules import CLAIM_S, MISSED_AFTER_S, Schedules, problem_of, queue_of
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, task
from poolhouse.worker.registry import Registry
from poolhouse.worker.scheduler import RETRY_S, SchedulePlanner, Scheduler
from tests.kit.waiting import until

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
IDS = TaskIds(b"k" * 32)


class Report(Payload):
    rows: int


@task("report", queue="bulk")
def report(payload: Report, ctx: TaskContext) -> None:
    """Make a report."""


REGISTRY = Registry(report.__poolhouse_handlers__)  # type: ignore[attr-defined]


def declared(
    cron: str = "0 * * * *",
    *,
    zone: str = "Etc/UTC",
    missed_runs: str = "skip",
    queue: str | None = None,
    rows: Any = 3,
) -> topology.Topology:
    chosen = f'queue = "{queue}"' if queue else ""
    return topology.parse(
        f"""
        [queues.default]
        [queues.bulk]
        [schedules.hourly]
        cron = "{cron}"
        time_zone = "{zone}"
        missed_runs = "{missed_runs}"
        task_type = "report"
        payload = {{ rows = {json.dumps(rows)} }}
        {chosen}
        """
    )


@dataclass
class World:
    """A bucket and queues, and any number of schedulers over them."""

    plan: topology.Topology = field(default_factory=declared)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    store: MemoryStore = field(default_factory=MemoryStore)
    topics: MemoryTopics = field(default_factory=MemoryTopics)

    def schedules(self, owner: str = "one") -> Schedules:
        settings = Settings(google_cloud_project="unit", bucket_name="unit-bucket", publish_timeout_s=1)
        settings.__dict__["topology"] = self.plan
        return Schedules(
            self.store,
            topology=self.plan,
            task_ids=IDS,
            publisher=Publisher(settings, topics=self.topics),
            queue_of=partial(queue_of, task_types=REGISTRY, topology=self.plan),
            owner=owner,
        )

    def agenda(self, owner: str = "one") -> SchedulePlanner:
        agenda = SchedulePlanner(self.schedules(owner), owner=owner)
        self.settle(agenda)
        return agenda

    def settle(self, *agendas: SchedulePlanner) -> datetime | None:
        """Tick until nobody has anything to do now; when they want to be called next."""
        for _ in range(1_000):
            wake = [agenda.tick(self.clock()) for agenda in agendas]
            if all(at is None or at > self.clock() for at in wake):
                return min((at for at in wake if at is not None), default=None)
        raise AssertionError(f"a scheduler is never done: it wants to be called at {wake}")

    def pass_time(self, seconds: float, *agendas: SchedulePlanner) -> None:
        """Let the time pass; the schedulers are called when they want to be, and not more often."""
        end = self.clock() + timedelta(seconds=seconds)
        wakes = 0
        while (wake := self.settle(*agendas)) is not None and wake <= end:
            self.clock.now = wake
            wakes += 1
            assert wakes < 1_000, "a scheduler wants to be called again and again"
        self.clock.now = end
        self.settle(*agendas)

    @property
    def published(self) -> list[dict[str, Any]]:
        return [json.loads(published.message.data) for published in self.topics.published]

    @property
    def due_times(self) -> list[str]:
        return [body["submitted_at"][5:16] for body in self.published]


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
