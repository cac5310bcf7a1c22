"""Timers fire in order, at their time, and leave nothing behind."""

from __future__ import annotations

import pytest

from poolhouse_pubsub.core.clock import Clock
from poolhouse_pubsub.core.timers import NEVER, TimerQueue


def run(timers: TimerQueue, until: float) -> list[float]:
    times = []
    while True:
        due = timers.next_due
        timer = timers.pop_due(until)
        if timer is None:
            return times
        times.append(due)
        timer.fire(due)


def test_timers_fire_in_order_of_their_time_and_equal_ones_as_they_were_set() -> None:
    timers, fired = TimerQueue(), []
    for name, due in (("c", 3), ("a", 1), ("b", 1), ("later", 10)):
        timers.timer(lambda now, name=name: fired.append((name, now))).set(due)
    run(timers, 5)
    assert fired == [("a", 1), ("b", 1), ("c", 3)]
    assert timers.next_due == 10


def test_a_moved_timer_fires_once_at_its_new_time() -> None:
    timers, fired = TimerQueue(), []
    timer = timers.timer(fired.append)
    timer.set(1)
    timer.set(5)
    timer.at_most(7)
    timer.at_most(4)
    assert run(timers, 100) == [4]
    assert fired == [4]


def test_a_cancelled_timer_does_not_fire() -> None:
    timers = TimerQueue()
    timer = timers.timer(lambda now: pytest.fail("it fired"))
    timer.set(1)
    timer.cancel()
    assert timers.next_due == NEVER
    assert run(timers, 100) == []


def test_a_timer_that_is_not_set_fires_at_the_latest_when_it_is_told_to() -> None:
    timers = TimerQueue()
    timer = timers.timer(lambda now: None)
    timer.at_most(3)
    assert run(timers, 100) == [3]
    timer.at_most(5)
    assert run(timers, 100) == [5]
    timer.set(6)
    timer.cancel()
    timer.at_most(7)
    assert run(timers, 100) == [7]


def test_a_timer_may_set_itself_again_while_it_fires() -> None:
    timers = TimerQueue()
    timer = timers.timer(lambda now: timer.set(now + 2))
    timer.set(1)
    assert run(timers, 7) == [1, 3, 5, 7]


def test_the_alarm_of_the_loop_is_moved_to_an_earlier_time_only() -> None:
    told: list[float] = []
    timers = TimerQueue(on_earlier=told.append)
    for due in (5, 9, 3, 3):
        timers.timer(lambda now: None).set(due)
    assert told == [5, 3]


def test_a_timer_that_is_moved_a_million_times_does_not_fill_the_heap() -> None:
    timers = TimerQueue()
    timer, others = timers.timer(lambda now: None), [timers.timer(lambda now: None) for _ in range(2)]
    others[0].set(500_000)
    others[1].set(1_500_000)
    for due in range(20_000):
        timer.set(1_000_000 - due)
    assert len(timers._heap) <= 3_000
    assert run(timers, 2_000_000) == [500_000, 980_001, 1_500_000]


def test_a_running_clock_runs_and_a_manual_one_stands() -> None:
    monotonic = [100.0]
    running = Clock(start=50, monotonic=lambda: monotonic[0])
    manual = Clock(start=50, manual=True, monotonic=lambda: monotonic[0])
    monotonic[0] += 7
    assert (running.now(), manual.now()) == (57, 50)
    assert (running.skip(10), manual.skip(10)) == (67, 60)
    with pytest.raises(ValueError, match="forward only"):
        manual.skip(-1)
    with pytest.raises(ValueError, match="forward only"):
        manual.skip(float("nan"))
