"""The spans of a task on one axis: their order, and where each lies."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from poolhouse.local.console.task import waterfall
from poolhouse.local.console.task.waterfall import MOST_DEPTH, MOST_ROWS, Waterfall
from poolhouse.pipeline.traces.spans import Span
from tests.kit.unit.local.console.task.recorded import retried, span


def laid_out(spans: list[Span], task_id: str = "a") -> Waterfall:
    found = waterfall.of(spans, task_id)
    assert found is not None
    return found


def test_spans_are_rows_below_their_parents_in_the_order_of_their_starts() -> None:
    spans = retried()
    random.Random(7).shuffle(spans)
    found = laid_out(spans)
    assert [(row.depth, row.span.name) for row in found.rows] == [
        (0, "POST /tasks"),
        (1, "submit a"),
        (2, "publish default"),
        (2, "process a"),
        (3, "run a"),
        (2, "process a"),
        (3, "storage put"),
        (3, "submit b"),
        (4, "process b"),
    ]
    assert not found.hidden


def test_bars_lie_on_one_axis_and_an_attempt_has_its_wait_before_it() -> None:
    rows = laid_out(retried()).rows
    bars = [[(bar.kind, bar.start, bar.width) for bar in row.bars] for row in rows]
    assert bars[0] == [("server", 0, 8.33)]
    assert bars[3] == [("waiting", 6.67, 10), ("error", 16.67, 16.67)]  # since its publish was answered
    assert bars[5] == [("waiting", 33.33, 33.33), ("consumer", 66.67, 16.67)]  # since the attempt before
    assert rows[5].bars[0].text == "waited 2 s"
    assert (rows[5].took, rows[5].began) == ("1 s", "4 s")


def test_an_attempt_leads_to_the_one_before_and_a_follow_up_to_its_page() -> None:
    rows = laid_out(retried()).rows
    assert [row.attempt for row in rows if row.span.kind == "consumer"] == [1, 2, 1]
    assert [(row.span.name, row.retry_of) for row in rows if row.retry_of] == [("process a", f"{4:016x}")]
    assert [(row.span.name, row.leads_to) for row in rows if row.leads_to] == [("submit b", "b")]


def test_of_what_led_to_a_follow_up_only_its_own_line_is_shown() -> None:
    rows = laid_out(retried(), "b").rows
    names = ["POST /tasks", "submit a", "process a", "submit b", "process b"]
    assert [row.span.name for row in rows] == names
    assert [row.leads_to for row in rows] == ["a", None, None, None, None]


def test_a_long_time_without_a_span_is_drawn_shorter() -> None:
    found = laid_out([span(1, end=1, task_id="a"), span(2, start=86_400, end=86_401, task_id="a")])
    assert found.shortened
    assert found.rows[1].bars[0].width > 30


def test_without_a_span_of_its_own_a_task_has_no_waterfall() -> None:
    assert waterfall.of(retried(), "another") is None
    assert waterfall.of([], "a") is None


def test_a_parent_that_is_recorded_elsewhere_makes_a_span_a_first_one() -> None:
    [row] = laid_out([span(2, parent=1, task_id="a")]).rows
    assert row.depth == 0


def test_parents_that_lead_in_circles_end() -> None:
    circle = [span(1, parent=2, task_id="a"), span(2, parent=1), span(3, parent=3, task_id="a")]
    assert {row.span.span_id for row in laid_out(circle).rows} == {each.span_id for each in circle}


def test_of_very_many_spans_the_first_ones_are_drawn_and_the_others_counted() -> None:
    chain = [span(1, task_id="a"), *(span(number, parent=number - 1) for number in range(2, 1000))]
    found = laid_out(chain)
    assert len(found.rows) == MOST_ROWS
    assert found.hidden == 999 - MOST_ROWS
    assert max(row.depth for row in found.rows) == MOST_DEPTH


@given(
    st.lists(
        st.builds(
            span,
            st.integers(1, 6),
            parent=st.none() | st.integers(1, 6),
            start=st.floats(0, 1e6),
            end=st.floats(0, 1e6),
            task_id=st.none() | st.sampled_from("ab"),
            attempt=st.none() | st.integers(0, 3),
            kind=st.sampled_from(["consumer", "odd"]),
        ),
        max_size=12,
    )
)
def test_whatever_is_recorded_lies_on_the_axis_and_each_span_once(spans: list[Span]) -> None:
    spans = [replace(each, end_ns=max(each.start_ns, each.end_ns)) for each in spans]
    found = waterfall.of(spans, "a")
    if found is None:
        assert not any(each.task_id == "a" for each in {each.span_id: each for each in reversed(spans)}.values())
        return
    ids = [row.span.span_id for row in found.rows]
    assert len(ids) == len(set(ids))
    for row in found.rows:
        for bar in row.bars:
            assert 0 <= bar.start <= bar.start + bar.width <= 100.7
