from __future__ import annotations

from poolhouse.local.console.charts import chart


def test_a_bar_is_what_ended_with_failures_at_its_foot_and_the_line_is_what_came() -> None:
    made = chart(submitted=[4, 0], ended=[2, 4], failed=[0, 1])
    assert made.peak == 4
    assert [(bar.y, bar.height) for bar in made.succeeded] == [(50, 50), (0, 75)]
    assert [(bar.y, bar.height) for bar in made.failed] == [(75, 25)]
    assert made.failed[0].x == made.succeeded[1].x
    assert made.submitted == "25.00,0.0 75.00,100.0"


def test_where_nothing_happened_nothing_is_drawn() -> None:
    made = chart(submitted=[0, 0, 0], ended=[0, 0, 0], failed=[0, 0, 0])
    assert (made.succeeded, made.failed, made.submitted, made.peak) == ((), (), "", 0)
