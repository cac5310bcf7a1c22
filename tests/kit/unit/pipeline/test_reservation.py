"""How instances share a quota, simulated: virtual time, storage calls that take a while, fail, or take effect late."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from poolhouse.pipeline.limits.reservation import AHEAD_S, PAUSE_S, Count, Reservation


@dataclass
class Storage:
    """Objects with one writer each, as `QuotaStore` has them."""

    objects: dict[str, tuple[Count, int]] = field(default_factory=dict)
    written_s: dict[str, list[float]] = field(default_factory=dict)
    lists: int = 0
    generation: int = 0

    def put(self, name: str, count: Count, *, if_generation: int, now_s: float) -> None:
        if self.objects.get(name, (Count(), 0))[1] == if_generation:
            self.generation += 1
            self.objects[name] = (count, self.generation)
            self.written_s.setdefault(name, []).append(now_s)


class World:
    """Instances of the API, and callers that never tire."""

    def __init__(self, quota: int, *, seed: int, failing: float = 0.0, latency_s: float = 0.05) -> None:
        self.chance = random.Random(seed)
        self.quota, self.failing, self.latency_s = quota, failing, latency_s
        self.down = False
        self.storage = Storage()
        self.now_s = 0.0
        self.through = self.refused = 0
        self.instances: list[Instance] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, after_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + after_s, next(self._numbers), what))

    def start(self, **options: bool) -> Instance:
        instance = Instance(self, f"instance-{len(self.instances)}", **options)
        self.instances.append(instance)
        return instance

    def calls(self, instance: Instance, *, per_s: float, for_s: float) -> None:
        def arrive() -> None:
            instance.call()
            if self.now_s < end_s:
                self.at(self.chance.expovariate(per_s), arrive)

        end_s = self.now_s + for_s
        self.at(self.chance.expovariate(per_s), arrive)

    def run(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, what = heapq.heappop(self._events)
            what()
        self.now_s = end_s


class Instance:
    """One instance: what `poolhouse.api.callers.quota` does, on virtual time."""

    def __init__(self, world: World, name: str, *, guesses: bool = False) -> None:
        self.world, self.name, self.guesses = world, name, guesses
        self.reservation = Reservation(world.quota, chance=world.chance)
        self.waiting = 0
        self.generation = 0
        self.busy = self.dead = False

    def call(self) -> None:
        if self.dead:
            return
        reservation = self.reservation
        if reservation.use() or (self.guesses and reservation.failing and reservation.use_unreserved()):
            self.world.through += 1
        else:
            due_s = reservation.due_s(waiting=1)
            if reservation.failing or due_s is None or due_s > self.world.now_s + 1.5:
                self.world.refused += 1
            else:
                self.waiting += 1
        self.look()

    def look(self) -> None:
        due_s = self.reservation.due_s(waiting=self.waiting)
        if due_s is None or self.busy or self.dead:
            return
        if due_s > self.world.now_s:
            self.world.at(due_s - self.world.now_s + 1e-6, self.look)
            return
        self.busy = True
        self._exchange(self.reservation.begin(self.world.now_s, waiting=self.waiting))

    def _exchange(self, count: Count | None) -> None:
        world, generation = self.world, self.generation

        def put() -> None:
            if count is not None:
                world.storage.put(self.name, count, if_generation=generation, now_s=world.now_s)

        def answered() -> None:
            if self.dead:
                return
            world.storage.lists += 1
            listed = dict(world.storage.objects)
            mine, self.generation = listed.pop(self.name, (Count(), 0))
            others = [each for each, _ in listed.values()]
            world.at(world.chance.uniform(0, world.latency_s), lambda: self._end(mine, others))

        fails = world.down or world.chance.random() < world.failing
        how = world.chance.choice(("before", "after", "later")) if fails and not world.down else "before"
        if not fails or how == "after":
            world.at(world.chance.uniform(0, world.latency_s), put)
        elif how == "later":
            world.at(world.chance.uniform(1, 40), put)
        world.at(world.latency_s, self._fail if fails else answered)

    def _end(self, mine: Count, others: list[Count]) -> None:
        if self.dead:
            return
        self.reservation.end(self.world.now_s, mine=mine, others=others)
        self._go_on()

    def _fail(self) -> None:
        self.reservation.fail(self.world.now_s)
        self._go_on()

    def _go_on(self) -> None:
        self.busy = False
        while self.waiting and self.reservation.use():
            self.waiting -= 1
            self.world.through += 1
        if self.reservation.failing or (self.waiting and self.reservation.remaining <= 0):
            self.world.refused += self.waiting
            self.waiting = 0
        self.look()

    def stop(self) -> None:
        """End as SIGTERM does it."""
        self.dead = True
        count = self.reservation.give_back()
        self.world.storage.put(self.name, count, if_generation=self.generation, now_s=self.world.now_s)


@pytest.mark.parametrize("seed", range(12))
def test_instances_together_never_let_a_call_too_many_through_and_leave_none_over(seed: int) -> None:
    world = World(quota=1 + 23 * seed, seed=seed)
    for _ in range(1 + seed % 5):
        world.calls(world.start(), per_s=world.chance.choice((4, 8, 20)), for_s=120)
    world.run(150)
    assert world.refused > 0
    assert world.through == world.quota


@pytest.mark.parametrize("seed", range(12))
def test_nor_do_they_where_storage_fails_and_writes_take_effect_late_and_instances_come_and_die(seed: int) -> None:
    world = World(quota=500, seed=seed, failing=0.2, latency_s=0.5)
    for _ in range(6):
        first, second = world.start(), world.start()  # in the same second
        world.calls(first, per_s=6, for_s=90)
        world.calls(second, per_s=2, for_s=90)
        world.run(world.chance.uniform(1, 30))
        if world.chance.random() < 0.5:
            first.dead = True  # killed: what it had reserved is lost
    world.run(200)
    assert world.quota / 2 < world.through <= world.quota
    assert sum(instance.reservation.used for instance in world.instances) == world.through


def test_an_instance_that_ends_or_is_left_alone_gives_back_what_it_did_not_use() -> None:
    world = World(quota=100, seed=1)
    ends, idle, last = world.start(), world.start(), world.start()
    for instance in (ends, idle):
        world.calls(instance, per_s=10, for_s=1)
    world.run(2)
    ends.stop()
    world.run(20)
    assert {name: count.reserved - count.used for name, (count, _) in world.storage.objects.items()} == {
        ends.name: 0,
        idle.name: 0,
    }
    world.calls(last, per_s=20, for_s=100)
    world.run(200)
    assert world.through == world.quota


def test_a_restarted_instance_goes_on_with_what_is_left_of_the_day() -> None:
    world = World(quota=60, seed=1)
    first = world.start()
    world.calls(first, per_s=10, for_s=3)
    world.run(3)
    first.dead = True  # killed: no last write
    assert 10 < world.through < 60
    world.calls(world.start(), per_s=10, for_s=60)
    world.run(90)
    lost = first.reservation._reserved - first.reservation.used
    assert world.through == world.quota - lost


def test_while_storage_is_down_each_instance_lets_through_what_it_knows_to_be_left() -> None:
    world = World(quota=1_000, seed=1)
    instances = [world.start(guesses=True) for _ in range(2)]
    for instance in instances:
        world.calls(instance, per_s=5, for_s=2_000)
    world.run(40)
    world.down = True
    known = [instance.reservation.remaining for instance in instances]
    before = world.through
    world.run(900)
    assert world.through - before == sum(known)  # each goes by itself: here almost twice what is left
    world.down = False
    world.run(2 * PAUSE_S)
    assert not any(instance.reservation.failing for instance in instances)
    assert all(instance.reservation.used_up for instance in instances)
    after = world.through
    world.run(100)
    assert world.through == after


@pytest.mark.parametrize(("per_s", "most"), [(0.1, 12), (5, 13), (20, 13)])
def test_a_quota_in_use_costs_a_write_and_a_listing_every_five_to_ten_seconds(per_s: float, most: int) -> None:
    world = World(quota=1_000_000, seed=2)
    instance = world.start()
    world.calls(instance, per_s=per_s, for_s=120)
    world.run(140)
    writes = world.storage.written_s[instance.name]
    assert world.refused == 0
    assert len(writes) <= most * 2
    assert world.storage.lists == len(writes)
    assert min(later - earlier for earlier, later in itertools.pairwise(writes)) >= 1


def test_an_exchange_that_fails_without_a_call_waiting_is_repeated_before_calls_go_by_what_is_known() -> None:
    reservation = Reservation(10, chance=random.Random(1))
    reservation.begin(0, waiting=1)
    reservation.end(0, mine=Count(used=0, reserved=5), others=[])
    assert reservation.use()
    reservation.begin(10, waiting=0)  # frozen for an hour, as Cloud Run does it between requests
    reservation.fail(3_600)
    assert not reservation.failing
    assert reservation.due_s(waiting=1) == 3_601
    reservation.begin(3_601, waiting=1)
    reservation.fail(3_602)
    assert reservation.failing


def test_an_instance_that_storage_has_failed_looks_again_without_a_call() -> None:
    reservation = Reservation(10, chance=random.Random(1))
    reservation.begin(0, waiting=1)
    reservation.end(0, mine=Count(), others=[Count(used=2, reserved=10)])
    assert reservation.due_s(waiting=0) is None
    reservation.fail(5)
    assert reservation.due_s(waiting=0) == 5 + PAUSE_S


def exchanged(quota: int, *, reserved: int = 0, others: Sequence[Count] = (), seed: int = 1) -> Reservation:
    """An instance for which a call waited, after its first exchange, at 100 s."""
    reservation = Reservation(quota, chance=random.Random(seed))
    reservation.begin(100, waiting=1)
    reservation.end(100, mine=Count(used=0, reserved=reserved), others=others)
    return reservation


@pytest.mark.parametrize(
    ("quota", "others", "calls", "after_s", "waiting", "reserved"),
    [
        (1_000, [], 40, 10, 0, 40),  # as many as in the ten seconds before
        (1_000, [], 40, 20, 0, 20),
        (1_000, [], 4, 0.5, 0, 40),  # no rate is told from less than a second
        (1_000, [], 40, 10, 3, 43),
        (100, [], 0, 10, 1, 10),  # the least
        (100, [], 0, 10, 0, 0),  # an idle one has none
        (6_450, [], 0, 10, 1, 100),  # the least of a large quota
        (21, [], 1, 10, 0, 10),  # an even share of the 20 left, with one for an instance that comes next
        (28, [Count(0, 7)], 0, 10, 1, 7),
        (28, [Count(3, 4), Count(3, 3)], 0, 10, 1, 7),  # one that has none over has no share
        (28, [Count(0, 7)], 0, 10, 9, 9),  # but for calls that wait
        (28, [Count(0, 7)], 0, 10, 99, 21),
    ],
)
def test_an_instance_reserves_what_it_is_going_to_use_and_leaves_the_others_their_share(
    quota: int, others: list[Count], *, calls: int, after_s: float, waiting: int, reserved: int
) -> None:
    reservation = exchanged(quota, reserved=calls, others=others)
    assert all(reservation.use() for _ in range(calls))
    count = reservation.begin(100 + after_s, waiting=waiting)
    assert (count or Count()) == Count(calls, calls + reserved)


def test_calls_that_went_unreserved_before_the_first_exchange_tell_no_rate() -> None:
    reservation = Reservation(100, chance=random.Random(1))
    assert all(reservation.use_unreserved() for _ in range(40))
    assert reservation.begin(100, waiting=0) == Count(40, 50)


def test_counts_are_exchanged_when_half_is_used_when_a_call_waits_and_at_last_to_write_what_was_used() -> None:
    fresh = Reservation(100, chance=random.Random(1))
    assert fresh.due_s(waiting=0) is None
    assert fresh.begin(0, waiting=0) is None
    assert not fresh.unwritten
    reservation = exchanged(20, reserved=10)
    due_s = []
    for _ in range(10):
        due_s.append(reservation.due_s(waiting=0))
        assert reservation.use()
    assert due_s == [100 + AHEAD_S] * 6 + [101] * 4
    assert not reservation.use()
    assert exchanged(100, reserved=10).due_s(waiting=1) == 101


def test_what_is_left_to_others_is_looked_for_again_and_what_is_used_up_is_not() -> None:
    assert exchanged(10, others=[Count(used=9, reserved=9)]).due_s(waiting=1) == 101
    assert exchanged(10, others=[Count(used=9, reserved=10)]).due_s(waiting=1) == 100 + AHEAD_S
    looked = exchanged(10, others=[Count(used=2, reserved=10)])
    assert looked.begin(110, waiting=1) is None
    looked.end(110, mine=Count(), others=[Count(used=2, reserved=2)])
    assert looked.due_s(waiting=1) == 101  # at once: nothing was written
    used_up = exchanged(10, others=[Count(used=10, reserved=10)])
    assert used_up.used_up
    assert used_up.due_s(waiting=1) is None
    last = exchanged(10, reserved=2, others=[Count(used=8, reserved=8)])
    assert last.use()
    assert last.use()
    assert last.due_s(waiting=0) == 100 + AHEAD_S  # to write it, not to find more


def test_instances_that_wrote_at_the_same_time_keep_apart_the_next_time() -> None:
    collided = [exchanged(100, reserved=10, others=[Count(0, 95)], seed=seed) for seed in range(20)]
    due_s = [reservation.due_s(waiting=1) for reservation in collided]
    assert len(set(due_s)) == len(due_s)
    assert all(each is not None and 101 <= each <= 101.5 for each in due_s)
