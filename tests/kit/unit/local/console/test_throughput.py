from __future__ import annotations

import pytest

from poolhouse.local.console.throughput import WINDOW_S, Counts, Throughput


def looked_at(*counts: tuple[float, int]) -> Throughput:
    made = Throughput()
    for at_s, finished in counts:
        made.add(Counts(at_s, {"s": finished}))
    return made


def test_there_is_no_rate_before_a_second_look() -> None:
    assert looked_at().rates("s") is None
    assert looked_at((0, 5)).rates("s") is None


def test_a_rate_is_what_was_finished_over_the_time_between_two_looks() -> None:
    rates = looked_at((0, 0), (2, 10), (4, 10), (8, 30)).rates("s")
    assert rates is not None
    assert (rates.now, rates.peak) == (5, 5)
    assert [bar.height for bar in rates.bars] == [100, 100]
    last = rates.bars[-1]
    assert last.x + last.width == pytest.approx(100)
    assert last.width == pytest.approx(100 * 4 / WINDOW_S)
    assert (last.y, last.height) == (0, 100)


def test_idle_time_has_no_bar_and_a_rate_of_nothing() -> None:
    rates = looked_at((0, 7), (2, 7)).rates("s")
    assert rates is not None
    assert (rates.now, rates.peak, rates.bars) == (0, 0, ())


def test_looks_that_lie_close_together_count_as_one() -> None:
    rates = looked_at((0, 0), (0.1, 90), (2, 100)).rates("s")
    assert rates is not None
    assert rates.peak == 50


def test_what_is_older_than_the_window_leaves_it() -> None:
    rates = looked_at((0, 0), (1, 1000), (1000, 1000), (1001, 1001)).rates("s")
    assert rates is not None
    assert rates.peak == 1
    assert all(bar.x >= 0 for bar in rates.bars)


def test_another_stack_begins_anew() -> None:
    made = looked_at((0, 100), (2, 110))
    made.add(Counts(4, {"s": 3}))
    assert made.rates("s") is None
    made.add(Counts(6, {"other": 3}))
    assert made.rates("s") is None
