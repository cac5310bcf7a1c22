from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from poolhouse.cloud.cost import MONTH_DAYS, MONTH_S, Load, Workers, break_even, estimate, load_of, load_prices, report
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.deploy_options import Deploy
from poolhouse.pipeline.errors import ConfigError

AS_OF, PRICES = load_prices()
LOAD = Load(tasks_per_day=10_000, seconds=2, workers=(Workers(instances=3),))


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
    idle = Load(tasks_per_day=100, seconds=1, schedules=0)
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


SHIPPED = topology.load(Path(__file__).parents[4] / "pipeline.toml")


def test_each_queue_is_paid_for_at_its_own_size() -> None:
    load = load_of(SHIPPED, tasks_per_day=1000, seconds=2)
    price = PRICES["run_pool"]
    assert part(load, "workers") == pytest.approx(4 * MONTH_S * (price["cpu_s"] + price["memory_gib_s"]))
    assert f"{part(load, 'workers'):.2f}" == "131.18"


def test_an_autoscaler_is_paid_for_all_the_time_and_its_pools_go_to_their_least() -> None:
    on = SHIPPED.model_copy(update={"deploy": Deploy(autoscale=True)})
    fixed, scaled = (load_of(declared, tasks_per_day=0, seconds=2) for declared in (SHIPPED, on))
    assert part(fixed, "autoscaler") == 0
    assert f"{part(scaled, 'autoscaler'):.2f}" == "44.71"
    assert part(scaled, "autoscaler", workers="job") == 0
    assert part(scaled, "workers") == pytest.approx(part(fixed, "workers") / 4)  # urgent's one instance is left


def test_spans_are_paid_for_beyond_the_free_ones_where_they_go_to_cloud_trace() -> None:
    traced = SHIPPED.model_copy(update={"env": {"TRACES_EXPORTER": "cloud_trace"}})
    few, many = (load_of(traced, tasks_per_day=tasks, seconds=2) for tasks in (1000, 100_000))
    assert part(few, "Cloud Trace") == 0
    spans = 100_000 * MONTH_DAYS * 7
    assert part(many, "Cloud Trace") == pytest.approx((spans - 2_500_000) / 1e6 * 0.20)
    assert part(load_of(SHIPPED, tasks_per_day=100_000, seconds=2), "Cloud Trace") == 0


def test_a_deployed_console_is_paid_for_beyond_what_is_free_and_what_the_api_takes_of_that() -> None:
    there = Console(deploy=True, viewers=("user:ann@example.com",))
    few, many = (
        load_of(SHIPPED.model_copy(update={"console": there}), tasks_per_day=tasks, seconds=2)
        for tasks in (1000, 10_000_000)
    )
    assert part(few, "console") == 0
    # A look each six seconds, for eight hours a day: 0.1 s of its own, and three calls of the API of 0.05 s.
    looks, price = 4800 * MONTH_DAYS, PRICES["run_service"]
    requests = looks * 4 / 1e6 * price["million_requests"]
    seconds = looks * 0.25 * (price["cpu_s"] + 0.5 * price["memory_gib_s"])
    assert part(many, "console") == pytest.approx(requests + seconds)
    assert part(many, "API") == part(load_of(SHIPPED, tasks_per_day=10_000_000, seconds=2), "API")
    assert part(load_of(SHIPPED, tasks_per_day=10_000_000, seconds=2), "console") == 0


def test_a_run_of_a_job_is_billed_for_a_minute_at_least() -> None:
    idle = load_of(SHIPPED, tasks_per_day=0, seconds=2)
    assert 204 < part(idle, "workers", workers="job") < 206
    assert f"{part(idle, 'dead-letter job'):.2f}" == "9.99"
    five = load_of(SHIPPED.model_copy(update={"deploy": Deploy(job_minutes=5)}), tasks_per_day=0, seconds=2)
    often, seldom = (part(load, "workers", workers="job") for load in (idle, five))
    assert seldom < often / 5


def test_where_pools_are_cheaper_from_the_first_task_on_the_report_says_so() -> None:
    load = load_of(SHIPPED, tasks_per_day=1000, seconds=2)
    assert break_even(load, PRICES) == 0
    assert "Pools are cheaper for workers at any number" in report(load, PRICES, as_of=load_prices()[0])


def test_impossible_loads_are_refused() -> None:
    with pytest.raises(ConfigError, match="can't be negative"):
        Load(tasks_per_day=-1, seconds=1)
    with pytest.raises(ConfigError, match="can't be negative or endless"):
        Load(tasks_per_day=float("inf"), seconds=1)


def test_a_gpu_has_a_line_of_its_own_and_what_has_none_has_no_such_line() -> None:
    text = "[queues.a]\n[queues.frames.workers]\ncpu = {}\nmemory_mib = {}\ngpu = '{}'\nmin_instances = 3"
    load = load_of(topology.parse(text.format(4, 16_384, "nvidia-l4")), tasks_per_day=1000, seconds=2)
    assert part(load, "nvidia-l4") == pytest.approx(3 * MONTH_S * PRICES["run_gpu"]["nvidia-l4"])
    assert "Jobs have no GPU here" in report(load, PRICES, as_of=AS_OF)
    unpriced = load_of(topology.parse(text.format(20, 81_920, "nvidia-rtx-pro-6000")), tasks_per_day=1000, seconds=2)
    assert "not in the sum: prices.toml has no price of it" in report(unpriced, PRICES, as_of=AS_OF)
    assert "GPU" not in report(load_of(SHIPPED, tasks_per_day=1000, seconds=2), PRICES, as_of=AS_OF)
