from __future__ import annotations

import pytest

from poolhouse.pipeline.config.queue import Workers
from poolhouse.pipeline.config.scaling import Scaler, counted_backlog, wanted_instances

WORKERS = Workers(min_instances=0, max_instances=10, target_backlog=100)


@pytest.mark.parametrize(
    ("backlog", "current", "wanted"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (100, 1, 1),
        (110, 1, 1),  # within the tolerance of a tenth
        (111, 1, 2),
        (950, 3, 10),
        (100_000, 10, 10),
        (0, 5, 0),
        (95, 2, 1),
    ],
)
def test_instances_follow_the_backlog_within_their_bounds(backlog: int, current: int, wanted: int) -> None:
    assert wanted_instances(backlog, current=current, workers=WORKERS) == wanted


def test_the_least_instances_stay_without_work() -> None:
    assert wanted_instances(0, current=0, workers=Workers(min_instances=2, max_instances=4)) == 2


def test_more_come_at_once_and_fewer_only_after_a_while() -> None:
    scaler = Scaler(WORKERS, window_s=120)
    assert scaler.decide(0, backlog=0, current=0) == 0
    assert scaler.decide(15, backlog=500, current=0) == 5
    assert scaler.decide(30, backlog=100, current=5) == 5  # a lull
    assert scaler.decide(45, backlog=900, current=5) == 9
    assert scaler.decide(60, backlog=0, current=9) == 9
    assert scaler.decide(164, backlog=0, current=9) == 9
    assert scaler.decide(165, backlog=0, current=9) == 9
    assert scaler.decide(166, backlog=0, current=9) == 0  # 45 + 120 is over


def test_instances_that_are_not_there_any_more_are_wanted_again_only_if_the_backlog_wants_them() -> None:
    scaler = Scaler(WORKERS, window_s=120)
    assert scaler.decide(0, backlog=900, current=9) == 9
    assert scaler.decide(15, backlog=500, current=5) == 5
    assert scaler.decide(30, backlog=500, current=3) == 5


def test_a_fresh_scaler_does_not_stop_what_it_finds() -> None:
    scaler = Scaler(WORKERS, window_s=120)
    assert scaler.decide(0, backlog=0, current=4) == 4
    assert scaler.decide(119, backlog=0, current=4) == 4
    assert scaler.decide(121, backlog=0, current=4) == 0


def test_a_negative_backlog_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="can't be negative"):
        wanted_instances(-1, current=0, workers=WORKERS)
    with pytest.raises(ValueError, match="can't be negative"):
        wanted_instances(0, current=-1, workers=WORKERS)


def test_a_paused_queue_is_scaled_for_what_runs_alone() -> None:
    assert counted_backlog(unfinished=1000, in_flight=3, paused=True) == 3
    assert counted_backlog(unfinished=1000, in_flight=3, paused=False) == 1000
