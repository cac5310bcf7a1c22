"""docs/gpus.md: its declaration, its table of sizes, and what it says of the plan and of the cost."""

from __future__ import annotations

import re
import textwrap

from poolhouse.cloud.cost import MONTH_S, load_prices
from poolhouse.cloud.plan.planner import plan
from poolhouse.cloud.plan.rendering import plan_text
from poolhouse.local import cloud_only
from poolhouse.pipeline.config.queue import GPU_MEMORY_MIB
from poolhouse.pipeline.config.topology import parse
from poolhouse.project import ROOT
from tests.kit.unit.cloud.conftest import Make

PAGE = (ROOT / "docs" / "gpus.md").read_text(encoding="utf-8")


def test_the_declaration_on_the_page_is_one_and_the_plan_shows_its_gpu(make: Make) -> None:
    text = textwrap.dedent(PAGE[PAGE.index("    [queues") : PAGE.index("    ./invoke")])
    declared = parse(f'name = "shop"\n{text}')
    shown = plan_text(plan(make(declared), {}), project="some-project")
    (said,) = re.findall(r"# in the plan: (.+)", PAGE)
    assert f"    {said}\n" in shown
    assert list(cloud_only.notes(declared)) == [
        "GPUs are for Google Cloud alone: local workers run without, also those of frames (nvidia-l4)"
    ]
    assert list(cloud_only.notes(parse("[queues.a]"))) == []


def test_the_types_and_sizes_on_the_page_are_those_that_are_taken() -> None:
    rows = re.findall(r"^\| `(nvidia-\S+)` \| \d+ GB \| (.+) \| (.+) \|$", PAGE, re.M)
    for gpu, cpus, memory in rows:
        sizes = GPU_MEMORY_MIB[gpu]
        assert [int(number) for number in re.findall(r"\d+", cpus)] == list(sizes)
        numbers = {int(number.replace(",", "")) for number in re.findall(r"\d+,\d+", memory)}
        assert numbers == {edge for edges in sizes.values() for edge in edges}
    assert [gpu for gpu, *_ in rows] == list(GPU_MEMORY_MIB)


def test_the_price_on_the_page_is_that_of_the_estimate() -> None:
    _, prices = load_prices()
    price = prices["run_gpu"]["nvidia-l4"]
    monthly = f"{price:.7f} US dollars a second (about ${round(price * MONTH_S, -1):.0f} a month)"
    assert monthly in " ".join(PAGE.split())
    assert "nvidia-rtx-pro-6000" not in prices["run_gpu"]
