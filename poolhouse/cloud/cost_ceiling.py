"""What a month of instances can cost at the most: the sum that `max_monthly_cost` limits. Pure: prices come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from poolhouse.cloud.cost import AUTOSCALER_CPU, AUTOSCALER_GIB, MONTH_S, PRICES_FILE, LineItem, Prices
from poolhouse.cloud.errors import CloudError
from poolhouse.cloud.kinds import console
from poolhouse.cloud.kinds.run import DEAD_LETTER_CPU, DEAD_LETTER_MEMORY_MIB
from poolhouse.cloud.kinds.worker_pools import fixed_instances
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology

#: Runs of the job that keeps dead letters that may be at work at a time: it starts every five minutes and takes on new
#: work for ten.
DEAD_LETTER_RUNS = 2


def ceiling(topology: Topology, prices: Prices) -> tuple[LineItem, ...]:
    """The instances of a deployment, as if all of them were at work for a whole month; no free part is taken off."""
    return tuple(_instances(topology, prices))


def table(items: tuple[LineItem, ...]) -> str:
    """The items for a person, and their sum."""
    lines = [f"{item.part:20}{item.dollars:>12,.2f}   {item.why}" for item in items]
    return "\n".join([*lines, f"{'all':20}{sum(item.dollars for item in items):>12,.2f}"])


def check(topology: Topology, prices: Prices) -> None:
    """Hold a deployment against `max_monthly_cost` of its stage.

    Raises:
        CloudError: its instances can cost more; with the numbers.
    """
    limit = topology.deploy.max_monthly_cost
    if limit is None:
        return
    unpriced = [queue for queue in topology.queues if queue.workers.gpu and _gpu_price(queue, prices) is None]
    if unpriced:
        raise CloudError(
            f"not deployed: max_monthly_cost under [deploy] of pipeline.toml is {limit:,.2f} US dollars, and nothing "
            f"is known of the price of {unpriced[0].workers.gpu}, which queue {unpriced[0].name} has: write it under "
            f"[run_gpu] of {PRICES_FILE}, per second, or take max_monthly_cost out."
        )
    items = ceiling(topology, prices)
    total = sum(item.dollars for item in items)
    if total > limit:
        raise CloudError(
            f"not deployed: a month with all instances at work would cost {total:,.2f} US dollars, more than the "
            f"{limit:,.2f} that max_monthly_cost under [deploy] of pipeline.toml allows:\n{table(items)}\n"
            "Lower max_instances or the size of what costs most, or raise max_monthly_cost. Not in it is what is paid "
            "for by use: messages, storage, requests, logs."
        )


def _instances(topology: Topology, prices: Prices) -> Iterator[LineItem]:
    deploy = topology.deploy
    api = deploy.api
    yield _item("API", api.max_instances, (api.cpu, api.memory_mib / 1024), prices["run_service"])
    for queue in topology.queues:
        size = queue.workers
        way, count = "run_pool", size.max_instances if deploy.autoscale else fixed_instances(queue)
        if deploy.workers == "job":
            way, count = "run_job", size.max_instances
        item = _item(f"queue {queue.name}", count, (size.cpu, size.memory_mib / 1024), prices[way])
        yield _with_gpu(item, queue, count, prices) if size.gpu else item
    if topology.console.deploy:
        of_console = (console.CPU, console.MEMORY_MIB / 1024)
        yield _item("console", console.MAX_INSTANCES, of_console, prices["run_service"])
    if deploy.autoscale:
        yield _item("autoscaler", 1, (AUTOSCALER_CPU, AUTOSCALER_GIB), prices["run_instance"])
    yield _item(
        "dead-letter job", DEAD_LETTER_RUNS, (DEAD_LETTER_CPU, DEAD_LETTER_MEMORY_MIB / 1024), prices["run_job"]
    )


def _gpu_price(queue: Queue, prices: Prices) -> float | None:
    """US dollars a second of the GPU of a queue's instances; None where that is not known."""
    return prices["run_gpu"].get(queue.workers.gpu or "")


def _with_gpu(item: LineItem, queue: Queue, count: int, prices: Prices) -> LineItem:
    """The item with one GPU an instance."""
    price = _gpu_price(queue, prices)
    if price is None:
        return replace(item, why=f"{item.why}, without {queue.workers.gpu}, whose price is not known")
    return replace(
        item, dollars=item.dollars + count * MONTH_S * price, why=f"{item.why}, with one {queue.workers.gpu} each"
    )


def _item(part: str, count: int, size: tuple[float, float], price: Mapping[str, float]) -> LineItem:
    cpu, gib = size
    dollars = count * MONTH_S * (cpu * price["cpu_s"] + gib * price["memory_gib_s"])
    return LineItem(part=part, dollars=dollars, why=f"{count} x {cpu:g} vCPU and {gib:g} GiB")
