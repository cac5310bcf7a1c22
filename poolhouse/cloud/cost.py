"""`invoke cost`: what a month would cost, by part, and when pools are cheaper than jobs. Pure: prices come in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.topology import Topology

PRICES_FILE = Path(__file__).with_name("prices.toml")
#: Seconds and days of a month, as Google's calculator has them.
MONTH_S, MONTH_DAYS = 730 * 3600, 365 / 12
#: A start of a job: container start, import of the libraries, and the wait for the queue to be empty, in seconds.
JOB_OVERHEAD_S = 15
#: CPU time of one submit call in the API, in seconds; requests share an instance, so this is a high guess.
API_CALL_S = 0.05
#: Storage operations of a task that succeeds: claim and final record; each worker reads a record before it claims.
WRITES, READS = 2, 1
#: Log bytes of a task: submit, start and end lines of the API and the worker.
LOG_BYTES = 1500
#: Size of an image and how many are kept.
IMAGE_GIB, IMAGES = 0.15, 10

Prices = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a pipeline has to do.

    Args (fields):
        tasks_per_day: tasks submitted in a day.
        seconds: time that a task takes.
        concurrency: tasks that an instance runs at a time.
        cpu: vCPUs of a worker instance.
        memory_gib: memory of a worker instance, in GiB.
        message_bytes: size of a task's message.
        result_bytes: what a task leaves in the bucket: record, result, files.
        kept_days: how long that stays.
        pool_instances: instances of all pools that run all the time; 0: as many as the work needs.
        queues: number of queues, each with its own pool or job.
        schedules: entries of Cloud Scheduler beside those that start jobs.
    """

    tasks_per_day: float
    seconds: float
    concurrency: int = 8
    cpu: float = 1
    memory_gib: float = 1
    message_bytes: int = 500
    result_bytes: int = 2000
    kept_days: float = 90
    pool_instances: float = 0
    queues: int = 3
    schedules: int = 1

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if min(self.tasks_per_day, self.seconds) < 0 or min(self.concurrency, self.cpu, self.memory_gib) <= 0:
            raise ConfigError("tasks and seconds can't be negative; concurrency, CPU and memory are above 0.")

    @property
    def busy_instance_s(self) -> float:
        """Instance seconds that the work of a month needs, were every instance full."""
        return self.tasks_per_day * MONTH_DAYS * self.seconds / self.concurrency


@dataclass(frozen=True, kw_only=True)
class Line:
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
    """The load on a pipeline: sizes are the default queue's, instances the sum of all pools' least (but one each)."""
    workers = topology.default_queue.workers
    return Load(
        tasks_per_day=tasks_per_day,
        seconds=seconds,
        concurrency=workers.concurrency,
        cpu=workers.cpu,
        memory_gib=workers.memory_mib / 1024,
        pool_instances=sum(max(1, queue.workers.min_instances) for queue in topology.queues),
        queues=len(topology.queues),
        schedules=len(topology.schedules),
        **more,
    )


def estimate(load: Load, prices: Prices, *, workers: Literal["pool", "job"]) -> tuple[Line, ...]:
    """The parts of a month's bill."""
    tasks = load.tasks_per_day * MONTH_DAYS
    api, pubsub, storage = prices["run_service"], prices["pubsub"], prices["storage"]
    sent = max(load.message_bytes, pubsub["smallest_request_bytes"])
    gib = tasks * sent * 2 / 2**30
    kept_gib = load.tasks_per_day * load.result_bytes * load.kept_days / 2**30
    starts = 1 + (load.queues if workers == "job" else 0)
    api_s = tasks * API_CALL_S
    api_cost = (
        _beyond(api_s, api["free_cpu_s"]) * api["cpu_s"]
        + _beyond(api_s * 0.5, api["free_memory_gib_s"]) * api["memory_gib_s"]
        + _beyond(tasks, api["free_requests"]) / 1e6 * api["million_requests"]
    )
    jobs = load.schedules + starts
    dead_letter_s = MONTH_S / 300 * JOB_OVERHEAD_S
    return (
        _pool(load, prices) if workers == "pool" else _job(load, prices, free=True),
        Line(part="API", dollars=api_cost, why=f"{tasks:,.0f} submits of {API_CALL_S * 1000:.0f} ms"),
        Line(
            part="dead-letter job",
            dollars=_run(dead_letter_s, 1, 0.5, prices["run_job"]),
            why="a start every 5 minutes, before the free seconds",
        ),
        Line(
            part="Pub/Sub",
            dollars=_beyond(gib, pubsub["free_gib"]) / 1024 * pubsub["tib"],
            why=f"{gib:,.1f} GiB published and delivered, {sent:,.0f} bytes each",
        ),
        Line(
            part="Cloud Storage",
            dollars=kept_gib * storage["gib_month"]
            + tasks * WRITES / 1000 * storage["thousand_writes"]
            + tasks * READS / 1000 * storage["thousand_reads"],
            why=f"{WRITES} writes and {READS} read a task, {kept_gib:,.1f} GiB kept",
        ),
        Line(
            part="Cloud Scheduler",
            dollars=_beyond(jobs, prices["scheduler"]["free_jobs"]) * prices["scheduler"]["job_month"],
            why=f"{jobs} entries",
        ),
        Line(
            part="Artifact Registry",
            dollars=_beyond(IMAGE_GIB * IMAGES, prices["registry"]["free_gib"]) * prices["registry"]["gib_month"],
            why=f"{IMAGES} images",
        ),
        Line(
            part="Cloud Logging",
            dollars=_beyond(tasks * LOG_BYTES / 2**30, prices["logging"]["free_gib"]) * prices["logging"]["gib"],
            why=f"{LOG_BYTES:,} bytes a task",
        ),
    )


def break_even(load: Load, prices: Prices) -> float | None:
    """Tasks a day from which the pools are cheaper than the jobs; None where they never are.

    Pools cost the same from no task to as many as their instances can do; jobs cost by the second. So the difference
    falls with the tasks, and the point is found by halving.
    """

    def difference(tasks_per_day: float) -> float:
        at = replace(load, tasks_per_day=tasks_per_day)
        return _pool(at, prices).dollars - _job(at, prices, free=True).dollars

    low, high = 0.0, 1e9
    if difference(low) <= 0:
        return 0.0
    if difference(high) > 0:
        return None
    while high - low > max(1.0, low * 1e-4):
        middle = (low + high) / 2
        low, high = (middle, high) if difference(middle) > 0 else (low, middle)
    return high


def report(load: Load, prices: Prices, *, as_of: date) -> str:
    """The estimate for a person: both ways to run workers, part by part."""
    pool, job = (estimate(load, prices, workers=way) for way in ("pool", "job"))
    lines = [
        f"A month of {load.tasks_per_day:,.0f} tasks a day of {load.seconds:g} s, {load.concurrency} at a time on "
        f"{load.cpu:g} vCPU and {load.memory_gib:g} GiB; unchecked prices of {as_of}, US dollars:",
        "",
        f"{'':20}{'pool':>12}{'job':>12}",
    ]
    for left, right in zip(pool, job, strict=True):
        why = left.why if left.why == right.why else f"pool: {left.why}; job: {right.why}"
        lines.append(f"{left.part:20}{left.dollars:>12,.2f}{right.dollars:>12,.2f}   {why}")
    totals = [sum(line.dollars for line in way) for way in (pool, job)]
    lines.append(f"{'all':20}{totals[0]:>12,.2f}{totals[1]:>12,.2f}")
    lines.append("")
    even = break_even(load, prices)
    if even is None:
        lines.append("Jobs are cheaper for workers at any number of tasks of this length.")
    else:
        lines.append(f"For workers, pools are cheaper from about {even:,.0f} tasks a day of this length on.")
    lines.append("Not in it: what handlers cause (network, other services), monitoring beyond the free part, builds.")
    return "\n".join(lines)


def _pool(load: Load, prices: Prices) -> Line:
    needed = load.busy_instance_s / MONTH_S
    instances = max(load.pool_instances, needed)
    dollars = _run(instances * MONTH_S, load.cpu, load.memory_gib, prices["run_pool"])
    return Line(part="workers", dollars=dollars, why=f"{instances:,.1f} instances all the time, {needed:,.2f} busy")


def _job(load: Load, prices: Prices, *, free: bool) -> Line:
    # A start a minute and queue, whether there is work or not; the work itself comes on top.
    starts = load.queues * MONTH_S / 60
    seconds = starts * JOB_OVERHEAD_S + load.busy_instance_s
    price = prices["run_job"]
    dollars = _beyond(seconds * load.cpu, price["free_cpu_s"] if free else 0) * price["cpu_s"]
    dollars += _beyond(seconds * load.memory_gib, price["free_memory_gib_s"] if free else 0) * price["memory_gib_s"]
    return Line(part="workers", dollars=dollars, why=f"{starts:,.0f} starts of {JOB_OVERHEAD_S} s and the work")


def _run(seconds: float, cpu: float, memory_gib: float, price: Mapping[str, float]) -> float:
    return seconds * (cpu * price["cpu_s"] + memory_gib * price["memory_gib_s"])


def _beyond(amount: float, free: float) -> float:
    return max(0.0, amount - free)
