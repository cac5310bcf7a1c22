"""The time axis of a task: where waits, attempts and steps lie on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.local.console.task import timeline
from poolhouse.local.console.task.axis import elapsed
from poolhouse.local.console.task.timeline import MOST_ATTEMPTS, MOST_STEPS, Timeline

SUBMITTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    return (SUBMITTED + timedelta(seconds=seconds)).isoformat()


def attempt(number: int, start: float, end: float | None, outcome: str = "failed") -> dict[str, Any]:
    ended = {} if end is None else {"ended_at": at(end)}
    return {"number": number, "worker": "w", "started_at": at(start), "outcome": outcome, **ended}


def laid_out(*attempts: dict[str, Any], now: float = 100, status: str = "succeeded", **more: Any) -> Timeline:
    task = {"task_id": "t", "status": status, "submitted_at": at(0), "updated_at": at(0), "attempts": attempts, **more}
    return timeline.of(task, now=SUBMITTED + timedelta(seconds=now))


def bars(found: Timeline) -> list[list[tuple[str, float, float]]]:
    return [[(span.kind, span.start, span.width) for span in row.spans] for row in found.rows]


def test_each_attempt_is_a_row_with_the_wait_before_it() -> None:
    found = laid_out(attempt(1, 2, 4), attempt(2, 7, 10, "succeeded"))
    assert bars(found) == [[("waiting", 0, 20), ("failed", 20, 20)], [("waiting", 40, 30), ("succeeded", 70, 30)]]
    assert [(row.name, row.took, row.waited) for row in found.rows] == [
        ("Attempt 1", "2 s", "2 s"),
        ("Attempt 2", "3 s", "3 s"),
    ]
    assert [(tick.x, tick.text) for tick in found.ticks] == [
        (0, "0"),
        (20, "2 s"),
        (40, "4 s"),
        (60, "6 s"),
        (80, "8 s"),
    ]


def test_steps_lie_below_on_the_same_axis() -> None:
    steps = [{"name": "fetch", "started_at": at(1), "ended_at": at(5)}]
    found = laid_out(attempt(1, 0, 10, "succeeded"), steps=steps)
    assert bars(found)[1] == [("step", 10, 40)]
    assert (found.rows[1].name, found.rows[1].took, found.rows[1].step) == ("fetch", "4 s", True)


def test_what_has_not_ended_reaches_until_now() -> None:
    assert bars(laid_out(attempt(1, 0, None, "running"), status="running", now=8)) == [[("running", 0, 100)]]
    assert bars(laid_out(status="queued", now=8)) == [[("waiting", 0, 100)]]
    assert laid_out(status="queued", now=8).rows[0].waited == "8 s"


def test_a_wait_is_told_by_what_it_was_for() -> None:
    replayed = laid_out(attempt(1, 0, 2), attempt(2, 6, 10), replayed_at=[at(5)])
    assert bars(replayed)[1] == [("dead", 20, 30), ("waiting", 50, 10), ("failed", 60, 40)]
    delayed = laid_out(attempt(1, 6, 10), not_before=at(5))
    assert bars(delayed)[0] == [("delayed", 0, 50), ("waiting", 50, 10), ("failed", 60, 40)]
    assert bars(laid_out(status="scheduled", now=8, not_before=at(500))) == [[("delayed", 0, 100)]]


def test_a_task_cancelled_before_it_began_has_waited_until_then() -> None:
    assert laid_out(status="cancelled", updated_at=at(7)).rows[0].waited == "7 s"


def test_a_wait_of_days_does_not_make_the_work_a_hair_line() -> None:
    found = laid_out(attempt(1, 86_400, 86_402))
    assert found.shortened
    [[_, (_, start, width)]] = bars(found)
    assert (round(start), round(width)) == (33, 67)
    assert [tick.text for tick in found.ticks] == ["0", "24 h"]
    assert not laid_out(attempt(1, 8, 10)).shortened


def test_of_many_attempts_and_steps_some_are_left_out_and_counted() -> None:
    attempts = [attempt(number, number, number + 0.5) for number in range(1, 31)]
    steps = [{"name": f"s{number}", "started_at": at(1), "ended_at": at(2)} for number in range(50)]
    found = laid_out(*attempts, steps=steps)
    assert len(found.rows) == MOST_ATTEMPTS + MOST_STEPS
    assert [row.name for row in found.rows[:5]] == [f"Attempt {number}" for number in (1, 2, 3, 14, 15)]
    assert found.hidden == 10 + 10


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.02, "20 ms"), (1.5, "1.5 s"), (120, "2 min"), (7200, "2 h"), (259_200, "3 d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


TIMES = st.lists(st.tuples(st.floats(-1e4, 1e7), st.floats(-10, 1e6)), max_size=30)


@given(
    TIMES, st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 100)), max_size=5), st.sampled_from(["queued", "dead"])
)
def test_whatever_the_times_every_bar_lies_on_the_axis(
    attempts: list[tuple[float, float]], steps: list[tuple[float, float]], status: str
) -> None:
    found = laid_out(
        *(attempt(number, start, start + length) for number, (start, length) in enumerate(attempts, 1)),
        steps=[{"name": "s", "started_at": at(start), "ended_at": at(start + length)} for start, length in steps],
        status=status,
    )
    for row in found.rows:
        for span in row.spans:
            assert 0 <= span.start <= 100
            assert span.width > 0
            assert span.start + span.width <= 100.02
    assert all(0 <= tick.x <= 100 for tick in found.ticks)
    assert len(found.ticks) <= 9
