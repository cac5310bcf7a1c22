"""Limits that hold for all workers together, in a simulation: bounds, writes, order, and what a loss costs."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.limits.limit_store import LimitStore
from poolhouse.pipeline.limits.rate import Rate
from poolhouse.pipeline.limits.shares import CLOCK_MARGIN, Need, Rule
from poolhouse.worker import Limit, Payload, TaskContext
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.admission.usage import Usage
from tests.kit.unit.worker.limit_world import EPOCH, AtOnce, Process, World, most_in_a_span


class Call(Payload):
    tenant: str


def run(payload: Call, ctx: TaskContext) -> None:
    """Never called: the simulation has tasks of its own."""


def handler(**limits: Any) -> Handler:
    return Handler(task_type="limited", function=run, payload_type=Call, **limits)


@pytest.mark.parametrize("seed", range(12))
def test_never_more_at_a_time_than_declared_whatever_fails(seed: int) -> None:
    limited = handler(limit=Limit(max_concurrency=3, key="tenant"))
    world = World(limited, seed=seed, processes=4, skew_s=1, failing=0.15)
    for _ in range(120):
        world.submit(world.chance.choice("ab"), world.chance.uniform(0.05, 2), after_s=world.chance.uniform(0, 30))
    for at_s in (5, 12, 31):
        world.at(at_s, world.kill)
    world.run(world.all_ended, most_s=600)
    assert world.most["a"] <= 3
    assert world.most["b"] <= 3
    assert max(world.most.values()) >= 2


@pytest.mark.parametrize("seed", range(12))
def test_never_more_starts_in_any_span_than_declared_whatever_fails(seed: int) -> None:
    limited = handler(limit=Limit(rate="10/s", key="tenant"))
    world = World(limited, seed=seed, processes=4, skew_s=1, failing=0.15)
    for _ in range(300):
        world.submit(world.chance.choice("ab"), 0.05, after_s=world.chance.uniform(0, 10))
    for at_s in (3, 8):
        world.at(at_s, world.kill)
    world.run(world.all_ended, most_s=900)
    for key in "ab":
        times_s = [at_s for at_s, of in world.began if of == key]
        assert most_in_a_span(times_s, 1) <= 10


@pytest.mark.parametrize(("rate", "span_s", "most"), [("5/m", 60, 5), ("20/h", 3600, 20)])
def test_a_long_span_is_kept_across_stops_deaths_and_idle_times(rate: str, span_s: float, most: int) -> None:
    world = World(handler(limit=Limit(rate=rate)), seed=1, processes=3, skew_s=1)
    for number in range(3 * most):
        world.submit("a", 0.1, after_s=number * span_s / most / 2)
    world.at(span_s * 0.3, world.kill)
    world.at(span_s * 0.6, lambda: world.stop(world.processes[0]))
    took_s = world.run(world.all_ended, most_s=8 * span_s)
    assert most_in_a_span([at_s for at_s, _ in world.began], span_s) == most
    assert took_s < 4.5 * span_s


def test_both_limits_of_a_type_hold_together() -> None:
    world = World(handler(limit=Limit(rate="4/s", max_concurrency=2), serial_by=("tenant",)), seed=3, processes=3)
    for number in range(60):
        world.submit("abc"[number % 3], 0.2)
    world.run(world.all_ended, most_s=300)
    assert most_in_a_span([at_s for at_s, _ in world.began], 1) <= 4
    for key in "abc":
        assert world.most[key] <= 2


def test_a_rate_is_used_to_the_full_by_four_processes() -> None:
    world = World(handler(limit=Limit(rate="20/s")), seed=5, processes=4)
    for _ in range(1200):
        world.submit("a", 0.01)
    world.run(world.all_ended, most_s=600)
    times_s = sorted(at_s for at_s, _ in world.began)
    per_s = sum(10 <= at_s < 40 for at_s in times_s) / 30
    assert 18 <= per_s <= 20


def test_a_slot_is_used_to_the_full_by_four_processes() -> None:
    world = World(handler(limit=Limit(max_concurrency=4)), seed=5, processes=4)
    for _ in range(400):
        world.submit("a", 0.4)
    took_s = world.run(world.all_ended, most_s=600)
    assert took_s < 1.25 * 400 * 0.4 / 4


def test_writes_are_bounded_by_about_one_a_second_and_key_however_many_tasks_and_processes() -> None:
    for processes in (1, 4, 16):
        world = World(handler(limit=Limit(rate="100/s", max_concurrency=20)), seed=2, processes=processes)
        for number in range(500):
            world.submit("a", 0.05, after_s=number / 20)
        world.run(world.all_ended, most_s=600)
        (written_s,) = world.storage.written_s.values()
        assert len(written_s) <= (world.now_s if processes > 1 else world.now_s / 4)
        assert most_in_a_span(written_s, 0.9) <= 2


def test_a_key_that_is_used_once_costs_two_writes_and_leaves_an_object_that_says_nothing() -> None:
    world = World(handler(limit=Limit(rate="10/s", max_concurrency=5, key="tenant")), seed=2, processes=1)
    world.submit("a", 0.05)
    world.run(world.all_ended, most_s=10)
    world.run(most_s=30)
    assert len(world.storage.writes) == 2
    assert len(world.storage.names()) == 1
    assert LimitStore(world.storage).in_use(most=10, now=EPOCH + timedelta(seconds=world.now_s)) == ([], False)
    assert world.processes[0].limits.next_act_at() is None


def test_a_process_that_joins_while_the_last_one_gives_back_keeps_what_it_got() -> None:
    world = World(handler(limit=Limit(max_concurrency=8)), seed=2, processes=2)
    first, second = world.processes
    first.deliver(world.job("a", 0.05))
    world.run(world.all_ended, most_s=5)
    long = world.job("a", 60)

    def join() -> None:
        world.storage.before_strike = lambda: None
        second.deliver(long)
        while not second.holds("a"):
            world.now_s += 0.5
            second.limits.act(AtOnce())

    world.storage.before_strike = join
    world.run(lambda: bool(long.began_s), most_s=20)
    assert "p1" in world.holders()
    world.run(lambda: "p0" not in world.holders(), most_s=20)
    assert world.holders() == {"p1"}


def test_what_a_dead_process_held_comes_back_when_its_lease_has_ended() -> None:
    world = World(handler(limit=Limit(max_concurrency=1)), seed=4, processes=1, skew_s=1)
    job = world.submit("a", 1000)
    world.run(lambda: len(job.began_s) == 1, most_s=5)
    world.kill()
    assert 10 <= world.run(lambda: len(job.began_s) == 2, most_s=60) <= 21 + 2 + 5 + 1


def test_a_process_without_storage_starts_nothing_once_its_lease_has_ended() -> None:
    world = World(handler(limit=Limit(rate="5/s")), seed=4, processes=1)
    for number in range(400):
        world.submit("a", 0.01, after_s=number / 4)
    world.run(most_s=10)
    world.storage.down = True
    world.run(most_s=22)
    began = len(world.began)
    world.run(most_s=20)
    assert len(world.began) == began
    world.storage.down = False
    world.run(world.all_ended, most_s=200)
    assert most_in_a_span([at_s for at_s, _ in world.began], 1) <= 5


def give_back(process: Process) -> None:
    """The end of a process, as `Limits` has it."""
    for call in process.limits.give_back():
        call()


def test_a_process_that_ends_gives_back_at_once_what_it_does_not_use() -> None:
    world = World(handler(limit=Limit(max_concurrency=1)), seed=4, processes=2)
    first, second = world.processes
    first.deliver(world.job("a", 1))
    world.run(world.all_ended, most_s=5)
    assert world.holders() == {"p0"}
    give_back(first)
    assert world.holders() == set()
    written = len(world.storage.writes)
    give_back(first)
    give_back(second)
    assert len(world.storage.writes) == written
    second.deliver(world.job("a", 1))
    assert world.run(world.all_ended, most_s=20) < 5


def test_a_process_that_ends_while_a_task_of_its_runs_keeps_its_lease() -> None:
    world = World(handler(limit=Limit(max_concurrency=2)), seed=4, processes=1)
    long = world.submit("a", 60)
    world.run(lambda: bool(long.began_s), most_s=5)
    give_back(world.processes[0])
    assert world.holders() == {"p0"}


def test_a_process_that_ends_without_knowing_what_the_object_says_leaves_it_to_the_end_of_its_lease() -> None:
    world = World(handler(limit=Limit(max_concurrency=1)), seed=4, processes=1)
    world.submit("a", 1)
    world.run(world.all_ended, most_s=5)
    world.storage.down = True
    world.run(most_s=10)  # it tried to give back, being idle
    world.storage.down = False
    written = len(world.storage.writes)
    give_back(world.processes[0])
    assert (len(world.storage.writes), world.holders()) == (written, {"p0"})


def test_pauses_between_tries_grow_to_some_seconds_while_storage_is_down_and_start_anew_after() -> None:
    world = World(handler(limit=Limit(max_concurrency=1)), seed=4, processes=1)
    tried_s: list[float] = []
    world.storage.before_strike = lambda: tried_s.append(world.now_s)
    get = world.storage.get

    def counted(name: str) -> Any:
        tried_s.append(world.now_s)
        return get(name)

    world.storage.get = counted  # type: ignore[method-assign]
    for _ in range(2):
        world.storage.down = True
        tried_s.clear()
        job = world.submit("a", 0.1)
        world.run(most_s=120)
        pauses_s = [later - earlier for earlier, later in pairwise(tried_s)]
        for pause_s, most_s in zip(pauses_s, (1, 2, 4, *[5] * len(pauses_s)), strict=False):
            assert most_s / 2 <= round(pause_s, 3) <= most_s
        assert len(pauses_s) >= 24
        world.storage.down = False
        world.run(lambda job=job: job.ended, most_s=10)  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(8))
def test_tasks_of_a_serial_key_run_one_at_a_time_and_in_the_order_of_their_submission(seed: int) -> None:
    world = World(handler(serial_by=("tenant",)), seed=seed, processes=4, skew_s=1)
    jobs = [world.submit("a", 0.5, after_s=0.0 if number < 20 else 6.0 * number) for number in range(40)]
    world.run(world.all_ended, most_s=600)
    assert world.most["a"] == 1
    began = sorted(jobs, key=lambda job: job.began_s[0])
    assert [job.number for job in began if job.number >= 20] == list(range(20, 40))


def test_many_that_wait_for_one_key_do_not_keep_others_waiting() -> None:
    world = World(handler(limit=Limit(rate="1/s", key="tenant")), seed=6, processes=2)
    for _ in range(3000):
        world.submit("crowd", 0.01)
    world.run(most_s=5)
    alone = world.submit("alone", 0.01)
    assert world.run(lambda: alone.ended, most_s=30) < 1
    assert sum(process.limits._parked for process in world.processes) <= 200
    world.run(most_s=300)
    assert world.put_off < 10 * 3000
    assert len([key for _, key in world.began if key == "crowd"]) >= 270


def test_a_write_that_takes_effect_long_after_it_failed_gives_no_unit_to_two() -> None:
    """What a process gave back by such a write it does not use, though the object shows it for a while."""
    world = World(handler(limit=Limit(max_concurrency=2)), seed=1, processes=1)
    first = world.processes[0]
    early = [world.submit("a", 60) for _ in range(2)]
    world.run(lambda: all(job.began_s for job in early), most_s=5)
    world.processes.append(world.process())
    late = world.submit("a", 60, after_s=1)
    world.deliver = world.processes[1].deliver  # type: ignore[method-assign]
    world.run(lambda: "p1" in world.holders(), most_s=10)
    world.run(most_s=3)
    ended = early[0]
    put = world.storage.put

    def lost(name: str, data: bytes, **options: Any) -> int:
        world.storage.put = put  # type: ignore[method-assign]
        world.at(0.8, lambda: world.late(lambda: put(name, data, **options)))
        raise StoreUnavailable("no answer")

    world.at(0, lambda: setattr(world.storage, "put", lost))
    world.at(0, lambda: first.end(ended))
    for _ in range(3):
        world.at(0.1, lambda: first.deliver(world.job("a", 60)))
    world.run(lambda: bool(late.began_s), most_s=30)
    world.run(most_s=10)
    assert world.most["a"] == 2


def ago(seconds: float) -> datetime:
    return EPOCH - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("rule", "held", "sharing", "waiting", "after_s"),
    [
        (Rule(slots=8, rate=None), (5, 0), 1, 100, 10),  # tasks of a second, five at a time: half of the twenty seconds
        (Rule(slots=8, rate=None), (0, 0), 2, 100, 12.5),  # holding none yet, it counts on its share
        (Rule(slots=3, rate=None), (0, 0), 2, 100, 50),
        (Rule(slots=1, rate=None), (0, 0), 5, 100, 50),
        (Rule(slots=None, rate=Rate(12, 60)), (0, 6), 1, 100, 500),
        (Rule(slots=None, rate=Rate(12, 60)), (0, 6), 1, 10, 50),
        (Rule(slots=None, rate=Rate(3, 60)), (0, 0), 2, 10, 300),
        (Rule(slots=None, rate=Rate(1, 20)), (0, 0), 5, 10, 100),
        (Rule(slots=1, rate=Rate(1, 20)), (1, 1), 1, 10, 100),  # of two limits the slower one counts
        (Rule(slots=1, rate=Rate(1, 0.5)), (1, 1), 1, 40, 20),
        (Rule(slots=1, rate=None), (1, 0), 1, 1, 5),  # not at once
        (Rule(slots=1, rate=None), (1, 0), 1, 9999, 500),  # not after an hour
    ],
)
def test_a_delivery_too_many_comes_again_when_about_half_of_those_before_it_have_started(
    rule: Rule, held: tuple[int, int], sharing: int, waiting: int, after_s: float
) -> None:
    usage = Usage(rule)
    assert usage.put_off_s(EPOCH, slots=held[0], starts=held[1], sharing=sharing, waiting=waiting) == after_s


def test_deliveries_that_were_put_off_count_until_they_come_again_and_long_tasks_take_longer() -> None:
    usage = Usage(Rule(slots=1, rate=None))

    def put_off(at_s: float) -> float:
        return usage.put_off_s(EPOCH + timedelta(seconds=at_s), slots=1, starts=0, sharing=1, waiting=20)

    assert [put_off(0) for _ in range(3)] == [10, 10.5, 11]
    assert put_off(10) == 11  # the first of the three is there again
    usage.enter(EPOCH)
    usage.start(EPOCH)
    usage.leave(EPOCH + timedelta(seconds=9), started=True)
    assert put_off(1000) == 20  # an eighth of the way from one second to nine


def test_what_is_in_use_and_what_waits_is_needed_up_to_the_limit() -> None:
    usage = Usage(Rule(slots=5, rate=Rate(4, 10)))
    for _ in range(3):
        usage.enter(EPOCH)
    usage.start(EPOCH)
    assert usage.needs(EPOCH, waiting=0) == (Need(3, 3), Need(3, 3))
    assert usage.needs(EPOCH, waiting=1) == (Need(3, 4), Need(3, 4))
    assert usage.needs(EPOCH, waiting=9) == (Need(3, 5), Need(3, 4))
    usage.leave(EPOCH, started=True)
    usage.leave(EPOCH, started=False)  # it has used no start
    assert usage.needs(EPOCH, waiting=0) == (Need(1, 1), Need(2, 2))
    assert usage.busy(EPOCH + timedelta(seconds=10)) == (1, 1)  # the span of the one start is over
    assert Usage(Rule(slots=None, rate=None)).needs(EPOCH, waiting=9) == (Need(), Need())


@pytest.mark.parametrize(("span_s", "pause_s", "least", "most"), [(60, 0.7, 18, 21), (10, 0.1, 8, 10)])
def test_starts_cool_in_some_groups_none_of_which_is_free_too_early(
    span_s: float, pause_s: float, least: int, most: int
) -> None:
    usage = Usage(Rule(slots=None, rate=Rate(100, span_s)))
    started = [ago(span_s - number * pause_s) for number in range(80)]
    for at in started:
        usage.enter(at)
        usage.start(at)
    groups = usage.cooling()
    assert sum(group.count for group in groups) == 80
    assert least <= len(groups) <= most
    ends = [at + timedelta(seconds=span_s) + CLOCK_MARGIN for at in started]
    for group in groups:
        assert sum(other.count for other in groups if other.free_at <= group.free_at) == sum(
            end <= group.free_at for end in ends
        )
