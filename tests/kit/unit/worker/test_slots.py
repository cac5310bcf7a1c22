"""The threads that run tasks: limits, shares, and an end that loses nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from poolhouse.worker.runtime.execution.thread_pool import TaskThreads
from tests.kit.waiting import until


def nothing() -> None:
    pass


def test_a_queue_never_runs_more_than_its_concurrency() -> None:
    slots = TaskThreads({"default": 3})
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    for _ in range(50):
        slots.put("default", work, give_back=nothing)
    assert slots.wait_idle(10)
    assert most == 3


def test_urgent_work_goes_first_and_bulk_work_is_not_starved() -> None:
    slots = TaskThreads({"urgent": 1, "bulk": 1})
    order: list[str] = []
    gate = threading.Event()
    started: list[str] = []

    def first(name: str) -> Callable[[], None]:
        def work() -> None:
            started.append(name)
            gate.wait(10)

        return work

    slots.put("urgent", first("urgent"), give_back=nothing)
    slots.put("bulk", first("bulk"), give_back=nothing)
    until(lambda: len(started) == 2)
    for _ in range(40):
        slots.put("urgent", lambda: order.append("urgent"), give_back=nothing)
        slots.put("bulk", lambda: order.append("bulk"), give_back=nothing)
    gate.set()
    assert slots.wait_idle(10)
    assert Counter(order) == {"urgent": 40, "bulk": 40}


def test_a_slow_task_holds_up_no_other() -> None:
    slots = TaskThreads({"default": 2})
    gate = threading.Event()
    done: list[int] = []
    slots.put("default", lambda: gate.wait(10) and None, give_back=nothing)
    for number in range(20):
        slots.put("default", lambda number=number: done.append(number), give_back=nothing)  # type: ignore[misc]
    until(lambda: len(done) == 20)
    assert done == list(range(20))
    gate.set()


def test_closing_returns_what_was_not_started_and_takes_no_more() -> None:
    slots = TaskThreads({"default": 1})
    gate, started = threading.Event(), threading.Event()
    back: list[str] = []

    def work() -> None:
        started.set()
        gate.wait(10)

    slots.put("default", work, give_back=nothing)
    assert started.wait(10)
    slots.put("default", nothing, give_back=lambda: back.append("waiting"))
    for give_back in slots.close():
        give_back()
    slots.put("default", nothing, give_back=lambda: back.append("late"))
    assert back == ["waiting", "late"]
    assert not slots.wait_idle(0.01)
    gate.set()
    assert slots.wait_idle(10)


def test_an_abandoned_thread_gives_its_place_to_another() -> None:
    slots = TaskThreads({"default": 1})
    gate = threading.Event()
    threads: list[int] = []
    done = threading.Event()

    def work() -> None:
        threads.append(threading.get_ident())
        gate.wait(10)

    slots.put("default", work, give_back=nothing)
    until(lambda: threads)
    slots.put("default", done.set, give_back=nothing)
    assert not done.is_set()
    slots.abandon(threads[0])
    assert done.wait(10)
    gate.set()
    again = threading.Event()
    slots.put("default", again.set, give_back=nothing)
    assert again.wait(10)


def test_the_tiers_of_a_lane_have_shares_and_one_that_was_empty_goes_next() -> None:
    slots = TaskThreads({"fair": 1})
    order: list[str] = []
    gate = threading.Event()
    slots.put("fair", lambda: gate.wait(10) and None, give_back=nothing)
    for _ in range(40):
        slots.put("fair", lambda: order.append("flood"), give_back=nothing, tier=1)
    for _ in range(8):
        slots.put("fair", lambda: order.append("first"), give_back=nothing)
    gate.set()
    assert slots.wait_idle(10)
    assert Counter(order[:10]) == {"first": 8, "flood": 2}
    assert order[10:] == ["flood"] * 38


def test_a_task_of_a_tier_that_was_empty_waits_for_none_that_waits() -> None:
    slots = TaskThreads({"fair": 1})
    order: list[str] = []
    late = threading.Event()

    def flood() -> None:
        order.append("flood")
        if len(order) == 500:
            slots.put("fair", lambda: order.append("late"), give_back=nothing)
            late.set()

    for _ in range(1000):
        slots.put("fair", flood, give_back=nothing, tier=3)
    assert slots.wait_idle(10)
    assert late.is_set()
    assert order.index("late") == 500


def test_what_waits_in_a_lane_is_taken_back_from_all_its_tiers() -> None:
    slots = TaskThreads({"fair": 1, "other": 1})
    gate = threading.Event()
    slots.put("fair", lambda: gate.wait(10) and None, give_back=nothing)
    back: list[int] = []
    for tier in (0, 1, 3):
        slots.put("fair", lambda: back.append(-1), give_back=lambda tier=tier: back.append(tier), tier=tier)
    for give_back in slots.withdraw("fair"):
        give_back()
    gate.set()
    assert slots.wait_idle(10)
    assert sorted(back) == [0, 1, 3]
