from __future__ import annotations

from dataclasses import replace

import pytest

from poolhouse.cloud.cost import MONTH_DAYS, MONTH_S, Load, break_even, estimate, load_prices, report
from poolhouse.pipeline.errors import ConfigError

_, PRICES = load_prices()
LOAD = Load(tasks_per_day=10_000, seconds=2, pool_instances=3)


def part(load: Load, name: str, *, workers: str = "pool") -> float:
    return next(line.dollars for line in estimate(load, PRICES, workers=workers) if line.part == name)  # type: ignore[arg-type]


def test_pools_cost_the_same_until_their_instances_are_full() -> None:
    price = PRICES["run_pool"]
    fixed = 3 * MONTH_S * (price["cpu_s"] + price["memory_gib_s"])
    assert part(LOAD, "workers") == pytest.approx(fixed)
    assert part(replace(LOAD, tasks_per_day=100_000), "workers") == pytest.approx(fixed)
    assert part(replace(LOAD, tasks_per_day=10_000_000), "workers") > fixed


def test_storage_is_two_writes_and_a_read_a_task_and_what_stays() -> None:
    load = Load(tasks_per_day=1000, seconds=1, result_bytes=0)
    price = PRICES["storage"]
    tasks = 1000 * MONTH_DAYS
    wanted = tasks / 1000 * (2 * price["thousand_writes"] + price["thousand_reads"])
    assert part(load, "Cloud Storage") == pytest.approx(wanted)


def test_nothing_is_charged_within_the_free_parts() -> None:
    idle = Load(tasks_per_day=100, seconds=1, queues=1, schedules=0)
    assert part(idle, "Pub/Sub") == part(idle, "API") == part(idle, "Cloud Scheduler") == 0


def test_the_break_even_is_where_both_cost_the_same() -> None:
    tasks = break_even(LOAD, PRICES)
    assert tasks is not None
    for factor, cheaper in ((0.9, "job"), (1.1, "pool")):
        at = replace(LOAD, tasks_per_day=tasks * factor)
        prices = {way: part(at, "workers", workers=way) for way in ("pool", "job")}
        assert min(prices, key=lambda way: prices[way]) == cheaper


def test_a_report_names_the_date_of_its_prices() -> None:
    as_of, prices = load_prices()
    assert f"prices of {as_of}" in report(LOAD, prices, as_of=as_of)


def test_impossible_loads_are_refused() -> None:
    with pytest.raises(ConfigError, match="can't be negative"):
        Load(tasks_per_day=-1, seconds=1)
