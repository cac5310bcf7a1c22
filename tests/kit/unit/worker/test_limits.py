"""Limits of a task type within one process: places and starts in a span of time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.limits.rate import Rate, RateWindow, parse_rate
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.testing.doubles import ManualClock, MemoryStore
from poolhouse.worker import Limit
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.admission.limits import NOTED_AFTER, Admission, Later, Limits
from poolhouse.worker.runtime.admission.shared_gate import MOST_WAITING, MOST_WAITING_EVER, MOST_WAITING_IN_ALL
from tests.kit.unit.worker.handlers import Number, echo
from tests.kit.unit.worker.limit_world import AtOnce
from tests.kit.waiting import until


def handler(**limits: Any) -> Handler:
    return Handler(task_type="limited", function=echo, payload_type=Number, **limits)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "give rate="),
        ({"rate": "1/s", "key": ("tenant", "tenant")}, "key names a field twice"),
    ],
)
def test_a_limit_that_can_not_be_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Limit(**fields)


class Gates:
    """`Limits` on a clock of the test's; deliveries are texts."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.resumed: list[Any] = []
        self.clock = ManualClock()
        self.limits = Limits(
            self.resumed.append, store=MemoryStore(), process="p", now=self.clock, monotonic=lambda: self.now_s
        )

    def ask(self, handler: Handler, delivery: Any, *, number: int = 1) -> Admission:
        task = TaskMessage(
            task_id="t-1", task_type="limited", submitted_at=self.clock.now, queue="default", payload={"n": number}
        )
        return self.limits.admit(handler, task, delivery)

    def admit(self, handler: Handler, delivery: Any) -> bool:
        return self.ask(handler, delivery) == "admitted"

    def leave(self, delivery: str) -> None:
        self.limits.leave(delivery)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "rate"), [("10/m", Rate(10, 60)), ("1/s", Rate(1, 1)), ("500/h", Rate(500, 3600))])
def test_a_rate_is_a_number_and_a_span(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0/s", "10", "10/d", "-1/s", "1.5/s", "10 / m"])
def test_a_rate_that_can_not_be_read_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match="10/m"):
        parse_rate(text)


@given(st.lists(st.floats(min_value=0, max_value=10), max_size=60), st.integers(min_value=1, max_value=5))
def test_no_span_ever_has_more_starts_than_the_rate(pauses: list[float], starts: int) -> None:
    window = RateWindow(Rate(starts, 10))
    now, started = 0.0, []
    for pause in pauses:
        now += pause
        now += window.wait_s(now)
        window.start(now)
        started.append(now)
    for first, later in zip(started, started[starts:], strict=False):
        assert later - first >= 10 - 1e-9


def test_a_type_without_limits_is_always_admitted() -> None:
    gates = Gates()
    assert all(gates.admit(handler(), f"t-{number}") for number in range(100))


def test_a_place_that_gets_free_goes_to_the_one_that_waited_longest() -> None:
    gates = Gates()
    narrow = handler(max_concurrency_per_process=1)
    assert gates.admit(narrow, "first")
    assert not gates.admit(narrow, "second")
    assert not gates.admit(narrow, "third")
    gates.leave("first")
    assert gates.resumed == ["second"]
    assert not gates.admit(narrow, "fourth")
    assert gates.limits.waiting
    assert gates.limits.close() == ["third", "fourth"]
    assert not gates.limits.waiting
    assert not gates.admit(narrow, "fifth")
    gates.leave("second")
    assert gates.resumed == ["second"]


def test_as_many_run_at_a_time_as_the_type_declares() -> None:
    gates = Gates()
    narrow = handler(max_concurrency_per_process=2)
    assert [gates.admit(narrow, delivery) for delivery in ("first", "second", "third")] == [True, True, False]
    gates.leave("second")
    assert gates.resumed == ["third"]
    assert not gates.admit(narrow, "fourth")


def test_what_is_parked_of_a_queue_is_taken_back_and_the_others_keep_their_turns() -> None:
    gates = Gates()
    narrow = handler(max_concurrency_per_process=1)
    urgent, bulk, late = (SimpleNamespace(queue=queue) for queue in ("urgent", "bulk", "urgent"))
    assert gates.admit(narrow, "first")
    for parked in (urgent, bulk, late):
        assert not gates.admit(narrow, parked)
    assert gates.limits.take("urgent") == [urgent, late]
    assert gates.limits.waiting
    gates.leave("first")
    assert gates.resumed == [bulk]
    assert not gates.limits.waiting


def test_a_delivery_that_waits_for_a_rate_starts_by_itself() -> None:
    gates = Gates()
    gates.limits = Limits(gates.resumed.append, store=MemoryStore(), process="p", now=gates.clock)
    slow = handler(rate_per_process="2/s")
    assert [gates.admit(slow, delivery) for delivery in ("first", "second", "third")] == [True, True, False]
    until(lambda: gates.resumed == ["third"])
    assert gates.limits.next_start_s is None


def test_a_rate_admits_again_when_its_span_is_over() -> None:
    gates = Gates()
    slow = handler(rate_per_process="1/h")
    assert gates.admit(slow, "first")
    gates.leave("first")
    assert not gates.admit(slow, "second")
    assert gates.limits.next_start_s == 3600
    gates.now_s = 3600.0
    gates.limits.look()
    assert gates.resumed == ["second"]


def test_a_limit_within_the_process_costs_no_storage_call() -> None:
    gates = Gates()
    store = MemoryStore()
    gates.limits = Limits(gates.resumed.append, store=store, process="p", now=gates.clock)
    narrow = handler(max_concurrency_per_process=1, rate_per_process="10/h")
    assert gates.admit(narrow, "first")
    gates.leave("first")
    assert gates.limits.next_act_at() is None
    assert store.calls == 0


def test_a_delivery_that_has_waited_for_some_time_for_its_turn_is_told_once_with_what_it_waits_for() -> None:
    gates = Gates()
    turns = handler(serial_by=("n",))
    assert [gates.ask(turns, delivery) for delivery in ("first", "second")] == ["parked", "parked"]
    gates.limits.act(AtOnce())
    assert gates.resumed == ["first"]
    gates.clock.forward(NOTED_AFTER.total_seconds() - 0.001)
    assert gates.limits.long_waiting() == []
    gates.clock.forward(0.001)
    assert gates.limits.long_waiting() == [("second", "the turn of limited (n=1)")]
    assert gates.limits.long_waiting() == []


def test_of_two_limits_the_one_that_is_waited_for_is_told() -> None:
    gates = Gates()
    both = handler(serial_by=("n",), max_concurrency_per_process=1)
    for number, delivery in enumerate(("first", "second")):
        assert gates.ask(both, delivery, number=number) == "parked"
        gates.limits.act(AtOnce())
    assert gates.resumed == ["first"]
    gates.clock.forward(NOTED_AFTER.total_seconds())
    assert gates.limits.long_waiting() == [("second", "the limits of limited within a worker process")]


def test_the_more_wait_in_a_process_the_fewer_may_wait_at_one_limit() -> None:
    gates = Gates()
    turns = handler(serial_by=("n",))
    crowded = range(MOST_WAITING_IN_ALL // MOST_WAITING)
    for number in crowded:
        for place in range(MOST_WAITING):
            assert gates.ask(turns, (number, place), number=number) == "parked"
    # Each limit has all that may wait at one, and the process all that may wait behind another.
    late = gates.ask(turns, "late", number=0)
    assert isinstance(late, Later)
    assert (late.limit, 5 <= late.after_s <= 500) == ("the turn of limited (n=0)", True)
    alone = MOST_WAITING_EVER - MOST_WAITING_IN_ALL
    for number in range(1000, 1000 + alone):
        assert gates.ask(turns, number, number=number) == "parked"
        assert isinstance(gates.ask(turns, "behind it", number=number), Later)
    assert isinstance(gates.ask(turns, "one too many", number=9999), Later)
