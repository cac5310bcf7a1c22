"""How a queue behaves at 10, 1,000 and 100,000 tasks a second: a queue model with Poolhouse's own scaling rule.

    ./invoke bench --name scale

It moves in steps of a second: tasks arrive (Poisson), instances finish what they can, and every 15 seconds the rule of
`poolhouse.pipeline.config.scaling` sees the backlog as it was some minutes ago, which is how late Cloud Monitoring is.
An instance works some seconds after it was asked for. Waits come from the two curves of arrivals and starts (first in,
first out). Nothing of Pub/Sub or Cloud Run is in it but these delays: it tells what the numbers of pipeline.toml lead
to.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

from poolhouse.pipeline.config.queue import Workers
from poolhouse.pipeline.config.scaling import POLL_S, Scaler


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run of the model."""

    name: str
    #: Tasks a second at the start, and after the step up.
    before: float
    after: float
    #: Time that a task takes, in seconds.
    task_s: float
    workers: Workers
    #: How old the backlog is that the scaler sees, in seconds.
    lag_s: int = 120
    #: From asking for an instance until it works, in seconds.
    start_s: int = 12


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it."""

    p50_s: float
    p95_s: float
    worst_s: float
    most_waiting: int
    most_instances: int
    #: Last second after the step up in which more waited than the instances are meant to have; 0: it never did.
    behind_until_s: int
    #: Part of the instances' time that was spent on tasks.
    used: float


def simulate(case: Case, *, seconds: int = 3600, step_up_s: int = 600, seed: int = 1) -> Outcome:
    """Run the model: a steady start, then the step up."""
    random = np.random.default_rng(seed)
    scaler = Scaler(case.workers)
    rate = case.workers.concurrency / case.task_s  # tasks a second of one instance
    running = max(case.workers.min_instances, 1)
    coming: list[tuple[int, int]] = []
    arrived, started = np.zeros(seconds + 1), np.zeros(seconds + 1)
    backlog = np.zeros(seconds + 1, dtype=np.int64)
    instances = np.zeros(seconds + 1, dtype=np.int64)
    for now in range(1, seconds + 1):
        arrived[now] = arrived[now - 1] + random.poisson(case.before if now <= step_up_s else case.after)
        running += sum(count for at, count in coming if at == now)
        coming = [(at, count) for at, count in coming if at > now]
        started[now] = min(arrived[now], started[now - 1] + running * rate)
        in_flight = min(started[now], running * case.workers.concurrency)
        backlog[now] = round(arrived[now] - started[now] + in_flight * min(1.0, case.task_s))
        instances[now] = running
        if now % POLL_S == 0:
            asked = running + sum(count for _, count in coming)
            seen = int(backlog[max(0, now - case.lag_s)])
            wanted = scaler.decide(now, backlog=seen, current=asked)
            if wanted > asked:
                coming.append((now + case.start_s, wanted - asked))
            elif wanted < running:
                running = max(wanted, 0)
                coming = []
    return _outcome(case, arrived=arrived, started=started, instances=instances, step_up_s=step_up_s)


def _outcome(
    case: Case,
    *,
    arrived: np.ndarray,
    started: np.ndarray,
    instances: np.ndarray,
    step_up_s: int,
) -> Outcome:
    # The n-th task waits from when the curve of arrivals passes n to when the curve of starts does.
    tasks = np.linspace(1, started[-1], num=min(200_000, max(2, int(started[-1]))))
    seconds = np.arange(len(arrived))
    rising = np.maximum.accumulate
    waits = np.interp(tasks, rising(started), seconds) - np.interp(tasks, rising(arrived), seconds)
    waits = np.clip(waits, 0, None)
    waiting = arrived - started
    behind = waiting > case.workers.target_backlog * np.maximum(instances, 1)
    late = np.nonzero(behind[step_up_s:])[0]
    capacity = instances.sum() * case.workers.concurrency / case.task_s
    return Outcome(
        p50_s=float(np.percentile(waits, 50)),
        p95_s=float(np.percentile(waits, 95)),
        worst_s=float(waits.max()),
        most_waiting=int(waiting.max()),
        most_instances=int(instances.max()),
        behind_until_s=int(late[-1]) if len(late) else 0,
        used=float(started[-1] / capacity),
    )


def case(
    name: str,
    *,
    load: tuple[float, float],
    task_s: float = 1,
    concurrency: int,
    instances: tuple[int, int],
    target: int,
) -> Case:
    """A case: load before and after the step up, least and most instances, target backlog of one."""
    least, most = instances
    workers = Workers(concurrency=concurrency, min_instances=least, max_instances=most, target_backlog=target)
    return Case(name=name, before=load[0], after=load[1], task_s=task_s, workers=workers)


CASES = (
    case("10/s, as shipped", load=(5, 10), concurrency=8, instances=(1, 10), target=100),
    case("10/s from nothing, small target", load=(0, 10), concurrency=8, instances=(0, 10), target=8),
    case("1,000/s, at most 10 instances", load=(100, 1000), concurrency=8, instances=(1, 10), target=100),
    case("1,000/s, target: a minute's work", load=(500, 1000), concurrency=16, instances=(32, 200), target=960),
    case("1,000/s, target: 2 s of work", load=(500, 1000), concurrency=16, instances=(32, 200), target=32),
    case("1,000/s, least enough for it", load=(500, 1000), concurrency=16, instances=(70, 200), target=32),
    case(
        "100,000/s, tasks of 0.1 s",
        load=(50_000, 100_000), task_s=0.1, concurrency=32, instances=(160, 1000), target=640,
    ),
    case(
        "100,000/s, least enough for it",
        load=(50_000, 100_000), task_s=0.1, concurrency=32, instances=(350, 1000), target=640,
    ),
)  # fmt: skip


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description="Simulate queues under load.")
    parser.add_argument("--lag", type=int, metavar="S", help="age of the backlog that the scaler sees (120)")
    options = parser.parse_args()
    print(f"{'case':36}{'wait p50':>9}{'p95':>8}{'worst':>8}{'waiting':>11}{'instances':>11}{'behind':>9}{'used':>6}")
    for chosen in CASES:
        outcome = simulate(chosen if options.lag is None else replace(chosen, lag_s=options.lag))
        print(
            f"{chosen.name:36}{outcome.p50_s:>7.1f} s{outcome.p95_s:>6.0f} s{outcome.worst_s:>6.0f} s"
            f"{outcome.most_waiting:>11,}{outcome.most_instances:>11,}{outcome.behind_until_s:>7} s{outcome.used:>6.0%}"
        )


if __name__ == "__main__":
    main()
