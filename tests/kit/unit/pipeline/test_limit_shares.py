"""The rules by which worker processes share a limit: what each change of its object does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from poolhouse.pipeline.limits import shares
from poolhouse.pipeline.limits.rate import Rate
from poolhouse.pipeline.limits.shares import Cooling, Hold, Holder, LimitState, Need, Rule, Surplus, fair_shares

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def state(*, cooling: tuple[Cooling, ...] = (), rate: str | None = None, **holders: Holder) -> LimitState:
    return LimitState(
        task_type="call", kind="limit", key={}, rate=rate, holders=holders, cooling=cooling, updated_at=NOW - s(9)
    )


def holder(
    slots: tuple[int, int] = (0, 0), starts: tuple[int, int] = (0, 0), *, waits_s: float | None = None
) -> Holder:
    """One with a lease, and how many slots and starts it wants and has."""
    return Holder(
        until=NOW + s(10),
        waiting_since=None if waits_s is None else NOW - s(waits_s),
        slots=Hold(want=slots[0], have=slots[1]),
        starts=Hold(want=starts[0], have=starts[1]),
    )


def slots_after(before: LimitState, process: str, *, total: int, busy: int, want: int) -> dict[str, int]:
    """The slots of each process after one has renewed its lease."""
    after = renew(before, process, rule=Rule(slots=total, rate=None), slots=Need(busy, want))
    return {name: each.slots.have for name, each in after.holders.items()}


def renew(
    before: LimitState,
    process: str,
    *,
    rule: Rule,
    slots: Need = Need(),  # noqa: B008 - frozen
    starts: Need = Need(),  # noqa: B008 - frozen
) -> LimitState:
    return shares.renewed(
        before, process, rule=rule, slots=slots, starts=starts, waiting=4, waiting_since=NOW - s(5), now=NOW
    )


def test_a_lease_counts_until_the_clocks_of_two_workers_agree_that_it_has_ended() -> None:
    kept = state(one=Holder(until=NOW))
    assert set(shares.current(kept, now=NOW + s(2) - MOMENT).holders) == {"one"}
    assert shares.current(kept, now=NOW + s(2)).empty


def test_starts_of_a_process_that_is_gone_cool_for_a_whole_span_after_its_lease() -> None:
    dead = state(rate="10/m", one=Holder(until=NOW, starts=Hold(have=3)), two=Holder(until=NOW))
    cooling = (Cooling(free_at=NOW + s(62), count=3),)
    assert shares.current(dead, now=NOW + s(2) - MOMENT).cooling == ()  # it has them still
    assert shares.current(dead, now=NOW + s(2)).cooling == cooling
    cooled = shares.current(state(rate="10/m", cooling=cooling), now=NOW + s(62) - MOMENT)
    assert (cooled.cooling, cooled.empty) == (cooling, False)
    assert shares.current(cooled, now=NOW + s(62)).empty


def test_slots_of_a_process_that_is_gone_are_free_at_once() -> None:
    assert slots_after(state(one=Holder(until=NOW - s(2), slots=Hold(have=3))), "two", total=3, busy=0, want=3) == {
        "two": 3
    }


@pytest.mark.parametrize(("sharing", "lease_s"), [(1, 21), (7, 21), (8, 24), (20, 60)])
def test_a_lease_is_the_longer_the_more_share_the_limit(sharing: int, lease_s: float) -> None:
    others = {f"p{number}": holder() for number in range(1, sharing)}
    rule = Rule(slots=5, rate=None)
    joined = renew(state(**others), "p0", rule=rule)
    assert joined.holders["p0"].until == NOW + s(lease_s)
    again = renew(joined, "p0", rule=rule)
    assert again.holders["p0"].until == NOW + s(lease_s)


def test_a_renewal_notes_what_waits_and_what_could_be_used() -> None:
    after = renew(state(), "one", rule=Rule(slots=8, rate=Rate(9, 1)), slots=Need(1, 3), starts=Need(2, 5))
    mine = after.holders["one"]
    assert (mine.waiting, mine.waiting_since, after.updated_at) == (4, NOW - s(5), NOW)
    assert (mine.slots.want, mine.starts.want) == (3, 5)


@pytest.mark.parametrize(
    ("total", "busy", "want", "have"),
    [
        (10, 0, 3, 7),  # what it wants, and half of the seven that are left
        (10, 0, 4, 7),
        (10, 2, 2, 6),
        (10, 0, 10, 10),
        (10, 0, 99, 10),
        (10, 0, 0, 0),  # one that wants none gets no spare ones
        (1, 0, 1, 1),
    ],
)
def test_a_process_alone_gets_what_it_wants_and_half_of_the_rest(total: int, busy: int, want: int, have: int) -> None:
    assert slots_after(state(), "one", total=total, busy=busy, want=want) == {"one": have}
    after = renew(state(), "one", rule=Rule(slots=None, rate=Rate(total, 1)), starts=Need(busy, want))
    assert after.holders["one"].starts.have == have


def test_what_is_given_back_goes_to_those_that_lack_it() -> None:
    before = state(one=holder((4, 4)), two=holder((2, 0), waits_s=1), three=holder((3, 1)))
    assert slots_after(before, "one", total=5, busy=1, want=4) == {"one": 2, "two": 2, "three": 1}


def test_what_is_in_use_is_not_given_back_and_what_others_have_is_not_taken() -> None:
    before = state(one=holder((4, 4)), two=holder((4, 1), waits_s=1))
    assert slots_after(before, "one", total=5, busy=4, want=4) == {"one": 4, "two": 1}
    assert slots_after(before, "two", total=5, busy=1, want=4) == {"one": 4, "two": 1}
    assert slots_after(before, "new", total=5, busy=0, want=4) == {"one": 4, "two": 1, "new": 0}


def test_after_a_limit_was_lowered_nothing_is_given_until_what_is_held_fits() -> None:
    before = state(one=holder((4, 4)), two=holder((4, 4)))
    assert slots_after(before, "one", total=6, busy=3, want=4) == {"one": 2, "two": 4}
    assert slots_after(before, "one", total=3, busy=3, want=4) == {"one": 0, "two": 4}


def test_starts_that_cool_are_given_to_none() -> None:
    cooling = (Cooling(free_at=NOW + s(1), count=3), Cooling(free_at=NOW + s(2), count=2))
    rule = Rule(slots=None, rate=Rate(8, 10))
    after = renew(state(cooling=cooling), "one", rule=rule, starts=Need(0, 8))
    assert (after.holders["one"].starts.have, after.cooling) == (3, cooling)
    over = state(cooling=(*cooling, Cooling(free_at=NOW + s(3), count=9)))
    assert renew(over, "one", rule=rule, starts=Need(0, 8)).holders["one"].starts.have == 0


def test_both_kinds_of_units_are_shared_by_their_own_numbers() -> None:
    before = state(one=holder((1, 1), (6, 6)), two=holder((3, 0), (5, 0), waits_s=1))
    rule = Rule(slots=4, rate=Rate(10, 1))
    after = renew(before, "one", rule=rule, slots=Need(1, 1), starts=Need(2, 2))
    assert {name: (each.slots.have, each.starts.have) for name, each in after.holders.items()} == {
        "one": (1, 4),
        "two": (3, 5),
    }


def test_a_release_gives_all_back_but_the_starts_whose_span_is_not_over() -> None:
    first, mine = Cooling(free_at=NOW + s(1), count=1), Cooling(free_at=NOW + s(3), count=2)
    before = state(cooling=(first,), one=holder((2, 2)), two=holder((1, 1)), gone=Holder(until=NOW - s(2)))
    after = shares.released(before, "one", rule=Rule(slots=4, rate=Rate(9, 1)), cooling=[mine], now=NOW)
    assert (after.holders, after.cooling, after.updated_at) == ({"two": before.holders["two"]}, (first, mine), NOW)


@pytest.mark.parametrize(
    ("mine", "need", "other", "beyond"),
    [
        (6, Need(1, 6), (6, 0), 3),  # beyond the half of six that is fair
        (6, Need(1, 6), (2, 0), 2),  # the other lacks two
        (6, Need(1, 6), (2, 1), 1),
        (6, Need(1, 6), (2, 2), 0),
        (4, Need(1, 6), (6, 2), 1),
        (3, Need(3, 6), (6, 0), 0),  # nothing beyond its share
        (6, Need(0, 1), (9, 0), 5),  # what it wants now counts, not what it wanted
    ],
)
def test_a_surplus_is_what_is_beyond_the_fair_share_as_far_as_others_lack_it(
    mine: int, need: Need, other: tuple[int, int], beyond: int
) -> None:
    slots = state(one=holder((6, mine)), two=holder(other))
    rule = Rule(slots=6, rate=None)
    assert shares.surplus(slots, "one", rule=rule, slots=need, starts=Need(), now=NOW) == Surplus(slots=beyond)
    starts = state(one=holder((0, 0), (6, mine)), two=holder((0, 0), other))
    rule = Rule(slots=None, rate=Rate(6, 1))
    assert shares.surplus(starts, "one", rule=rule, slots=Need(), starts=need, now=NOW) == Surplus(starts=beyond)


def test_a_process_without_a_lease_has_no_surplus() -> None:
    before = state(one=Holder(until=NOW - s(2), slots=Hold(want=4, have=4)), two=holder((4, 0)))
    rule = Rule(slots=4, rate=None)
    for process in ("one", "unknown"):
        assert shares.surplus(before, process, rule=rule, slots=Need(0, 4), starts=Need(), now=NOW) == Surplus()


@pytest.mark.parametrize(
    ("total", "wants", "fair"),
    [
        (10, {"a": 2, "b": 9, "c": 9}, {"a": 2, "b": 4, "c": 4}),
        (12, {"a": 1, "b": 1, "c": 4, "d": 9}, {"a": 1, "b": 1, "c": 4, "d": 6}),
        (7, {"a": 9, "b": 9, "c": 9}, {"a": 3, "b": 2, "c": 2}),
        (2, {"a": 9, "b": 9, "c": 9}, {"a": 1, "b": 1, "c": 0}),
        (1, {"a": 0, "b": 1}, {"a": 0, "b": 1}),
        (9, {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        (0, {"a": 1}, {"a": 0}),
        (5, {}, {}),
    ],
)
def test_units_are_shared_evenly_and_what_one_does_not_want_others_get(
    total: int, wants: dict[str, int], fair: dict[str, int]
) -> None:
    assert fair_shares(total, wants, sorted(wants)) == fair


def test_the_odd_unit_is_for_the_process_whose_first_task_waits_longest() -> None:
    before = state(zoe=holder((9, 0), waits_s=8), adam=holder((9, 0), waits_s=7), bob=holder((9, 0)))
    # The one that renews has waited for five seconds; one in which nothing waits comes last.
    assert slots_after(before, "me", total=3, busy=0, want=9) == {"zoe": 1, "adam": 1, "bob": 0, "me": 1}
    assert slots_after(before, "me", total=1, busy=0, want=9) == {"zoe": 1, "adam": 0, "bob": 0, "me": 0}


def test_processes_in_which_nothing_waits_are_served_by_name() -> None:
    before = state(two=holder((1, 0)), one=holder((1, 0)), three=holder((1, 0)))
    after = slots_after(before, "me", total=2, busy=0, want=0)
    assert after == {"two": 0, "one": 1, "three": 1, "me": 0}
