"""Limits by task type: places and starts in a span of time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.pipeline.errors import ConfigError
from poolhouse.worker.rate import Rate, RateWindow, parse_rate
from poolhouse.worker.registry import Handler
from poolhouse.worker.runtime.limits import Limits
from tests.kit.unit.worker.handlers import Number, echo


def handler(**limits: Any) -> Handler:
    return Handler(task_type="limited", function=echo, payload_type=Number, **limits)


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
    limits = Limits(lambda delivery: None)
    assert all(limits.admit(handler(), object()) for _ in range(100))  # type: ignore[arg-type]


def test_a_place_that_gets_free_goes_to_the_one_that_waited_longest() -> None:
    resumed: list[Any] = []
    limits = Limits(resumed.append)
    narrow = handler(max_concurrency=1)
    assert limits.admit(narrow, "first")  # type: ignore[arg-type]
    assert not limits.admit(narrow, "second")  # type: ignore[arg-type]
    assert not limits.admit(narrow, "third")  # type: ignore[arg-type]
    limits.leave(narrow)
    assert resumed == ["second"]
    assert not limits.admit(narrow, "fourth")  # type: ignore[arg-type]
    assert limits.close() == ["third", "fourth"]
    limits.leave(narrow)
    assert resumed == ["second"]


def test_a_rate_admits_again_when_its_span_is_over() -> None:
    now = 0.0
    limits = Limits(lambda delivery: None, monotonic=lambda: now)
    slow = handler(rate="1/h")
    assert limits.admit(slow, "first")  # type: ignore[arg-type]
    limits.leave(slow)
    assert not limits.admit(slow, "second")  # type: ignore[arg-type]
    limits.close()
    now = 3600.0
    limits = Limits(lambda delivery: None, monotonic=lambda: now)
    assert limits.admit(slow, "third")  # type: ignore[arg-type]
