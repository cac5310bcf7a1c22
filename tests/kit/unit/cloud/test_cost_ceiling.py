"""The most that a month can cost, and the deploy that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolhouse.cloud.cost import MONTH_S, load_prices
from poolhouse.cloud.cost_ceiling import ceiling, check
from poolhouse.cloud.deploy import deploy
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.gcloud.runner import Gcloud
from poolhouse.cloud.options import Options
from poolhouse.pipeline.config.topology import parse

_, PRICES = load_prices()
QUEUES = """
[queues.mail.workers]
cpu = 2
memory_mib = 2048
min_instances = 0
max_instances = 5
[queues.bulk.workers]
min_instances = 2
max_instances = 9
"""


def parts(deploy: str) -> dict[str, tuple[float, str]]:
    declared = parse(f"[deploy]\n{deploy}\n{QUEUES}")
    return {item.part: (item.dollars, item.why) for item in ceiling(declared, PRICES)}


def test_every_instance_counts_for_the_whole_month() -> None:
    found = parts("")
    pool, api = PRICES["run_pool"], PRICES["run_service"]
    assert found["queue mail"] == (
        pytest.approx(MONTH_S * 2 * (pool["cpu_s"] + pool["memory_gib_s"])),
        "1 x 2 vCPU and 2 GiB",
    )
    assert found["API"] == (
        pytest.approx(10 * MONTH_S * (api["cpu_s"] + api["memory_gib_s"] / 2)),
        "10 x 1 vCPU and 0.5 GiB",
    )
    assert set(found) == {"API", "queue mail", "queue bulk", "dead-letter job"}


def test_a_deployed_console_is_one_instance() -> None:
    (dollars, why) = parts('[console]\ndeploy = true\nviewers = ["user:ann@example.com"]')["console"]
    assert (dollars, why) == (pytest.approx(parts("")["API"][0] / 10), "1 x 1 vCPU and 0.5 GiB")


@pytest.mark.parametrize(
    ("deploy", "mail", "bulk"),
    [("", 1, 2), ("autoscale = true", 5, 9), ("workers = 'job'", 5, 9)],
    ids=["fixed", "autoscaled", "jobs"],
)
def test_pools_have_their_fixed_number_and_what_scales_its_most(deploy: str, mail: int, bulk: int) -> None:
    found = parts(deploy)
    assert [found[f"queue {name}"][1].partition(" ")[0] for name in ("mail", "bulk")] == [str(mail), str(bulk)]
    assert ("autoscaler" in found) == ("autoscale" in deploy)


def test_a_stage_that_could_cost_more_than_it_may_is_refused_with_the_numbers(tmp_path: Path) -> None:
    text = f"[deploy]\nmax_monthly_cost = 1500\n[stages.'pr-*'.deploy]\nmax_monthly_cost = 20\n{QUEUES}"
    check(parse(text), PRICES)
    preview = parse(text, stage="pr-7")
    with pytest.raises(CloudError) as refusal:
        # It calls no gcloud: there is none.
        deploy(
            Gcloud.__new__(Gcloud),
            preview,
            options=Options.declared(preview, project="some-project"),
            root=tmp_path,
            ask=lambda question: True,
            say=lambda line: None,
        )
    words = str(refusal.value)
    assert "more than the 20.00 that max_monthly_cost under [deploy]" in words
    total = sum(item.dollars for item in ceiling(preview, PRICES))
    assert f"would cost {total:,.2f} US dollars" in words
    assert "10 x 1 vCPU and 0.5 GiB" in words


GPU = "[queues.frames.workers]\ncpu = {cpu}\nmemory_mib = {mib}\ngpu = '{gpu}'\nmin_instances = 2"


def test_a_gpu_is_paid_for_as_long_as_its_instance_runs() -> None:
    text = GPU.format(cpu=4, mib=16_384, gpu="nvidia-l4")
    (item,) = (item for item in ceiling(parse(text), PRICES) if item.part == "queue frames")
    (plain,) = (
        item for item in ceiling(parse(text.replace("gpu = 'nvidia-l4'", "")), PRICES) if item.part == "queue frames"
    )
    assert item.dollars - plain.dollars == pytest.approx(2 * MONTH_S * PRICES["run_gpu"]["nvidia-l4"])
    assert item.why == "2 x 4 vCPU and 16 GiB, with one nvidia-l4 each"


def test_a_limit_is_not_held_against_a_sum_without_the_gpu() -> None:
    text = GPU.format(cpu=20, mib=81_920, gpu="nvidia-rtx-pro-6000")
    check(parse(text), PRICES)
    with pytest.raises(CloudError, match="nothing is known of the price of nvidia-rtx-pro-6000, which queue frames"):
        check(parse(f"[deploy]\nmax_monthly_cost = 1e9\n{text}"), PRICES)
    priced = {**PRICES, "run_gpu": {"nvidia-rtx-pro-6000": 0.001}}
    check(parse(f"[deploy]\nmax_monthly_cost = 1e9\n{text}"), priced)
