"""When the timers are looked at: by the clock, whatever happens to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.timing.timers import Timers
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import timer_loop
from poolhouse.worker.timer_loop import TimerLoop


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_is_followed_at_once_and_costs_no_call_before(
    monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    monkeypatch.setattr(timer_loop, "CLOCK_S", 0.01)
    store, clock = MemoryStore(), ManualClock()
    settings = Settings(
        google_cloud_project="p-12345",
        bucket_name="bucket",
        pipeline_file=str(Path(__file__).parents[4] / "pipeline.toml"),
    )
    looked_at_clock = 0

    def now() -> object:
        nonlocal looked_at_clock
        looked_at_clock += 1
        return clock.now

    loop = TimerLoop(Timers(store), Publisher(settings, topics=MemoryTopics()), now=now)  # type: ignore[arg-type]
    loop.start()
    try:
        until(lambda: looked_at_clock > 20)
        assert store.lists == 1
        clock.forward(jump_s)
        until(lambda: store.lists == 2)
    finally:
        loop.stop()
