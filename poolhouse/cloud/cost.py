"""`invoke cost`: what a month would cost, by part, and when pools are cheaper than jobs. Pure: prices come in."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from poolhouse.cloud.options import parts_with_cloud_trace
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError

PRICES_FILE = Path(__file__).with_name("prices.toml")
#: Seconds and days of a month, as Google's calculator has them.
MONTH_S, MONTH_DAYS = 730 * 3600, 365 / 12
#: A start of a job: container start, import of the libraries, and the wait for the queue to be empty, in seconds.
JOB_OVERHEAD_S = 15
#: Size of the autoscaler's one instance, which runs all the time: the defaults of Cloud Run.
AUTOSCALER_CPU, AUTOSCALER_GIB = 1, 0.5
#: CPU time of one submit call in the API, in seconds; requests share an instance, so this is a high guess.
API_CALL_S = 0.05
#: Hours a day that a page of the deployed console is open, and seconds between two of its looks.
CONSOLE_HOURS, LOOK_PERIOD_S = 8, 6
#: Instance time of a look, in seconds (requests are billed in steps of it), and the calls that it makes of the API.
LOOK_S, LOOK_CALLS = 0.1, 3
#: Storage operations of a task that succeeds: claim and final record; each worker reads a record before it claims.
WRITES, READS = 2, 1
#: Log bytes of a task: submit, start and end lines of the API and the worker, and Cloud Run's own line about the call.
#: Each further call of a client that polls is half as much again.
LOG_BYTES = 3000
#: Spans of a plain task: the call, submit, publish, process, run, and two of storage.
SPANS = 7
#: Size of an image and how many are kept.
IMAGE_GIB, IMAGES = 0.15, 10

Prices = Mapping[str, Mapping[str, float]]
_WAYS: tuple[Literal["pool", "job"], ...] = ("pool", "job")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The workers of one queue."""

    #: VCPUs of an instance.
    cpu: float = 1
    #: Memory of an instance, in GiB.
    memory_gib: float = 1
    #: Tasks that an instance runs at a time.
    concurrency: int = 8
    #: Instances of its pool that run all the time.
    instances: float = 1
    #: The GPU of an instance.
    gpu: str | None = None


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a pipeline has to do."""

    #: Tasks submitted in a day, all to the first of `workers`.
    tasks_per_day: float
    #: Time that a task takes.
    seconds: float
    #: Of each queue, the busy one first; the others are paid for as they stand.
    workers: tuple[Workers, ...] = (Workers(),)
    #: Whether pools follow their backlog.
    autoscale: bool = False
    #: Seconds between two starts of a queue's job.
    job_period_s: float = 60
    #: Size of a task's message.
    message_bytes: int = 500
    #: What a task leaves in the bucket: record, result, files.
    result_bytes: int = 2000
    #: How long that stays.
    kept_days: float = 90
    #: Spans of a task that go to Cloud Trace, were each task recorded.
    spans: float = 0
    #: Whether the console is deployed.
    console: bool = False
    #: Entries of Cloud Scheduler beside those that start jobs.
    schedules: int = 1

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        sizes = [size for each in self.workers for size in (each.concurrency, each.cpu, each.memory_gib)]
        amounts = (self.tasks_per_day, self.seconds)
        if min(amounts) < 0 or not all(map(math.isfinite, amounts)) or not sizes or min(*sizes, self.job_period_s) <= 0:
            raise ConfigError(
                "tasks and seconds can't be negative or endless; concurrency, CPU and memory are above 0."
            )

    @property
    def busy_instance_s(self) -> float:
        """Instance seconds that the work of a month needs, were every instance full."""
        return self.tasks_per_day * MONTH_DAYS * self.seconds / self.workers[0].concurrency


@dataclass(frozen=True, kw_only=True)
class LineItem:
    """One part of the estimate."""

    part: str
    #: US dollars a month.
    dollars: float
    #: How it comes about.
    why: str


def load_prices(path: Path = PRICES_FILE) -> tuple[date, Prices]:
    """The price table and its date. Raises `ConfigError`."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return table.pop("date"), table
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ConfigError(f"{path}: no price table: {error!r}") from None


def load_of(topology: Topology, *, tasks_per_day: float, seconds: float, **more: Any) -> Load:
    """The load on a pipeline whose tasks all go to the default queue: each queue with its own size and least instances.

    A pool that nothing scales has one instance at least.
    """
    default, autoscale = topology.default_queue, topology.deploy.autoscale
    queues = (default, *(queue for queue in topology.queues if queue is not default))
    workers = tuple(
        Workers(
            cpu=queue.workers.cpu,
            memory_gib=queue.workers.memory_mib / 1024,
            concurrency=queue.workers.concurrency,
            instances=queue.workers.min_instances if autoscale else max(1, queue.workers.min_instances),
            gpu=queue.workers.gpu,
        )
        for queue in queues
    )
    return Load(
        tasks_per_day=tasks_per_day,
        seconds=seconds,
        workers=workers,
        autoscale=autoscale,
        job_period_s=60 * topology.deploy.job_minutes,
        schedules=len(topology.schedules),
        spans=SPANS if parts_with_cloud_trace(topology) else 0,
        console=topology.console.deploy,
        **more,
    )


def estimate(load: Load, prices: Prices, *, workers: Literal["pool", "job"]) -> tuple[LineItem, ...]:
    """The parts of a month's bill."""
    tasks = load.tasks_per_day * MONTH_DAYS
    pubsub, storage = prices["pubsub"], prices["storage"]
    trace = prices["trace"]
    sent = max(load.message_bytes, pubsub["smallest_request_bytes"])
    gib = tasks * sent * 2 / 2**30
    kept_gib = load.tasks_per_day * load.result_bytes * load.kept_days / 2**30
    starts = 1 + (len(load.workers) if workers == "job" else 0)
    api_s = tasks * API_CALL_S
    api_cost = _requests(tasks, api_s, prices)
    looks = CONSOLE_HOURS * 3600 / LOOK_PERIOD_S * MONTH_DAYS if load.console else 0
    looking_s = looks * (LOOK_S + LOOK_CALLS * API_CALL_S)
    console_cost = _requests(tasks + looks * (1 + LOOK_CALLS), api_s + looking_s, prices) - api_cost
    jobs = load.schedules + starts
    dead_letter_s = MONTH_S / 300 * _billed_s(JOB_OVERHEAD_S, prices)
    scaled = load.autoscale and workers == "pool"
    return (
        _pool(load, prices) if workers == "pool" else _job(load, prices),
        *_gpus(load, prices, workers=workers),
        LineItem(
            part="autoscaler",
            dollars=_with_free(MONTH_S, AUTOSCALER_CPU, AUTOSCALER_GIB, prices["run_instance"]) if scaled else 0,
            why="one instance all the time" if scaled else "none",
        ),
        LineItem(part="API", dollars=api_cost, why=f"{tasks:,.0f} submits of {API_CALL_S * 1000:.0f} ms"),
        LineItem(
            part="console",
            dollars=console_cost,
            why=f"a page open {CONSOLE_HOURS} hours a day, with its calls of the API" if load.console else "none",
        ),
        LineItem(
            part="dead-letter job",
            dollars=_run(dead_letter_s, 1, 0.5, prices["run_job"]),
            why="a start every 5 minutes, billed at least a minute, before the free seconds",
        ),
        LineItem(
            part="Pub/Sub",
            dollars=_beyond(gib, pubsub["free_gib"]) / 1024 * pubsub["tib"],
            why=f"{gib:,.1f} GiB published and delivered, {sent:,.0f} bytes each",
        ),
        LineItem(
            part="Cloud Storage",
            dollars=kept_gib * storage["gib_month"]
            + tasks * WRITES / 1000 * storage["thousand_writes"]
            + tasks * READS / 1000 * storage["thousand_reads"],
            why=f"{WRITES} writes and {READS} read a task, {kept_gib:,.1f} GiB kept",
        ),
        LineItem(
            part="Cloud Scheduler",
            dollars=_beyond(jobs, prices["scheduler"]["free_jobs"]) * prices["scheduler"]["job_month"],
            why=f"{jobs} entries",
        ),
        LineItem(
            part="Artifact Registry",
            dollars=_beyond(IMAGE_GIB * IMAGES, prices["registry"]["free_gib"]) * prices["registry"]["gib_month"],
            why=f"{IMAGES} images",
        ),
        LineItem(
            part="Cloud Logging",
            dollars=_beyond(tasks * LOG_BYTES / 2**30, prices["logging"]["free_gib"]) * prices["logging"]["gib"],
            why=f"{LOG_BYTES:,} bytes a task",
        ),
        LineItem(
            part="Cloud Trace",
            dollars=_beyond(tasks * load.spans, trace["free_spans"]) / 1e6 * trace["million_spans"],
            why=f"{load.spans:g} spans a task, were all recorded" if load.spans else "none",
        ),
    )


def break_even(load: Load, prices: Prices) -> float | None:
    """Tasks a day from which the pools are cheaper than the jobs; None where they never are.

    Pools cost the same from no task to as many as their instances can do; jobs cost by the second. So the difference
    falls with the tasks, and the point is found by halving.
    """

    def difference(tasks_per_day: float) -> float:
        at = replace(load, tasks_per_day=tasks_per_day)
        return _pool(at, prices).dollars - _job(at, prices).dollars

    low, high = 0.0, 1e9
    if difference(low) <= 0:
        return 0.0
    if difference(high) > 0:
        return None
    while high - low > max(1.0, low * 1e-4):
        middle = (low + high) / 2
        low, high = (middle, high) if difference(middle) > 0 else (low, middle)
    return high


def figures(load: Load, prices: Prices, *, as_of: date) -> dict[str, Any]:
    """The estimate for a program: both ways to run workers, part by part."""
    return {
        "prices_of": as_of.isoformat(),
        "tasks_per_day": load.tasks_per_day,
        "seconds": load.seconds,
        **{way: [asdict(item) for item in estimate(load, prices, workers=way)] for way in _WAYS},
        "break_even_tasks_per_day": break_even(load, prices),
    }


def report(load: Load, prices: Prices, *, as_of: date) -> str:
    """The estimate for a person: both ways to run workers, part by part."""
    pool, job = (estimate(load, prices, workers=way) for way in _WAYS)
    busy = load.workers[0]
    lines = [
        f"A month of {load.tasks_per_day:,.0f} tasks a day of {load.seconds:g} s, all to the default queue, "
        f"{busy.concurrency} at a time on {busy.cpu:g} vCPU and {busy.memory_gib:g} GiB; US dollars, prices of {as_of} "
        f"({PRICES_FILE.name} says which are checked):",
        "",
        f"{'':20}{'pool':>12}{'job':>12}",
    ]
    for left, right in zip(pool, job, strict=True):
        why = left.why if left.why == right.why else f"pool: {left.why}; job: {right.why}"
        lines.append(f"{left.part:20}{left.dollars:>12,.2f}{right.dollars:>12,.2f}   {why}")
    totals = [sum(line.dollars for line in way) for way in (pool, job)]
    lines.append(f"{'all':20}{totals[0]:>12,.2f}{totals[1]:>12,.2f}")
    lines.append("")
    if any(each.gpu for each in load.workers):
        lines.append("Jobs have no GPU here; without it:")
    match break_even(load, prices):
        case None:
            lines.append("Jobs are cheaper for workers at any number of tasks of this length.")
        case 0.0:
            lines.append("Pools are cheaper for workers at any number of tasks of this length.")
        case even:
            lines.append(f"For workers, pools are cheaper from about {even:,.0f} tasks a day of this length on.")
    lines.append("Not in it: what handlers cause (network, other services), monitoring beyond the free part, builds.")
    return "\n".join(lines)


def _in_pools(load: Load) -> list[tuple[float, Workers]]:
    """The instances of each pool that run all the time, as far as the work needs them."""
    busy, *others = load.workers
    needed = load.busy_instance_s / MONTH_S
    return [(max(busy.instances, needed), busy), *((each.instances, each) for each in others)]


def _gpus(load: Load, prices: Prices, *, workers: Literal["pool", "job"]) -> Iterator[LineItem]:
    """What the GPUs cost, where there are some."""
    counts: dict[str, float] = {}
    for count, each in _in_pools(load):
        if each.gpu:
            counts[each.gpu] = counts.get(each.gpu, 0) + count
    for gpu, count in counts.items():
        price, why = prices["run_gpu"].get(gpu), f"{count:,.2f} all the time"
        if price is None:
            why = f"not in the sum: {PRICES_FILE.name} has no price of it"
        paid = workers == "pool" and price is not None
        yield LineItem(
            part=gpu,
            dollars=count * MONTH_S * (price or 0) if paid else 0,
            why=why if workers == "pool" else "none",
        )


def _pool(load: Load, prices: Prices) -> LineItem:
    needed, instances = load.busy_instance_s / MONTH_S, _in_pools(load)
    dollars = sum(_run(count * MONTH_S, each.cpu, each.memory_gib, prices["run_pool"]) for count, each in instances)
    cpus = sum(count * each.cpu for count, each in instances)
    return LineItem(
        part="workers",
        dollars=dollars,
        why=f"{len(instances)} pools with {cpus:,.1f} vCPU all the time, {needed:,.2f} instances busy",
    )


def _job(load: Load, prices: Prices) -> LineItem:
    # Started whether there is work or not; the work itself makes the busy queue's runs longer.
    starts = MONTH_S / load.job_period_s
    price = prices["run_job"]
    cpu_s = memory_gib_s = 0.0
    for index, each in enumerate(load.workers):
        work_s = load.busy_instance_s / starts if index == 0 else 0
        seconds = starts * _billed_s(JOB_OVERHEAD_S + work_s, prices)
        cpu_s += seconds * each.cpu
        memory_gib_s += seconds * each.memory_gib
    dollars = _beyond(cpu_s, price["free_cpu_s"]) * price["cpu_s"]
    dollars += _beyond(memory_gib_s, price["free_memory_gib_s"]) * price["memory_gib_s"]
    why = f"{starts * len(load.workers):,.0f} starts, billed at least {price['least_s']:g} s each, and the work"
    return LineItem(part="workers", dollars=dollars, why=why)


def _requests(count: float, seconds: float, prices: Prices) -> float:
    """Return what requests to services of 1 vCPU and 0.5 GiB cost; all services share the free parts."""
    price = prices["run_service"]
    return _with_free(seconds, 1, 0.5, price) + _beyond(count, price["free_requests"]) / 1e6 * price["million_requests"]


def _billed_s(seconds: float, prices: Prices) -> float:
    """Time of one run of a job as it is billed."""
    return max(prices["run_job"]["least_s"], seconds)


def _run(seconds: float, cpu: float, memory_gib: float, price: Mapping[str, float]) -> float:
    return seconds * (cpu * price["cpu_s"] + memory_gib * price["memory_gib_s"])


def _with_free(seconds: float, cpu: float, memory_gib: float, price: Mapping[str, float]) -> float:
    return (
        _beyond(seconds * cpu, price["free_cpu_s"]) * price["cpu_s"]
        + _beyond(seconds * memory_gib, price["free_memory_gib_s"]) * price["memory_gib_s"]
    )


def _beyond(amount: float, free: float) -> float:
    return max(0.0, amount - free)
