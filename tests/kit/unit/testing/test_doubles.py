"""What users call handlers with in plain unit tests, and how they write spans of time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from poolhouse.testing.doubles import FakeContext, ManualClock
from poolhouse.testing.spans import Span, seconds
from poolhouse.worker import TaskContext
from tests.kit.unit.testing.handlers import Person, Times, flaky, greet


def test_a_fake_context_is_on_the_clock_of_the_test() -> None:
    clock = ManualClock()
    context: TaskContext = FakeContext(clock=clock)
    before = greet(Person(name="Ada"), context).at
    clock.forward(60)
    assert greet(Person(name="Ada"), context).at - before == timedelta(minutes=1)


def test_a_fake_context_is_of_any_attempt() -> None:
    with pytest.raises(RuntimeError, match="attempt 2 fails"):
        flaky(Times(times=2), FakeContext(attempt=2))
    assert flaky(Times(times=2), FakeContext(attempt=3)) == 3


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        *(
            ("7 days", 604_800),
            ("1 hour 30 minutes", 5400),
            ("90 s", 90),
            ("250ms", 0.25),
            ("1.5h", 5400),
            ("2 weeks", 1_209_600),
        ),
        *((5, 5), (0, 0), (timedelta(minutes=1), 60)),
    ],
)
def test_spans(span: Span, expected: float) -> None:
    assert seconds(span) == pytest.approx(expected)


@pytest.mark.parametrize("span", ["", "7", "days", "7 moons", "1 day ago", -1, float("nan"), float("inf")])
def test_no_spans(span: Span) -> None:
    with pytest.raises(ValueError, match="span of time"):
        seconds(span)
