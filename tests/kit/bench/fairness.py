"""How long a task of a small tenant waits behind a flood of another one: `python -m tests.kit.bench.fairness`.

    python -m tests.kit.bench.fairness [--flood 20000] [--small 20]

The small tenants' tasks are submitted one after the other, each of a tenant of its own, to one worker process with 16
threads: to an empty queue, to a fair queue behind the flood, and one to a plain queue behind the same flood. One line
of JSON each. All processes share the machine: compare the lines of one run with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from datetime import UTC, datetime
from typing import Any

from poolhouse.pipeline.tasks.record_store import RecordStore
from tests.kit.bench._stack import PIPELINE, Stack, stack

FAIR = PIPELINE.replace("[queues.default]\n", '[queues.default]\nfair_by = "tenant"\n')
#: How long a task of the flood takes, in seconds.
NAP_S = 0.005
_LONGEST_S = 600


def waits(pipeline: str, *, flood: int, small: int) -> dict[str, Any]:
    """Seconds from a submit of a small tenant to the start of its task."""
    with stack(pipeline) as servers:
        flooding = [servers.submit("shared", tenant="flood", seconds=NAP_S)[0] for _ in range(flood)]
        for future in flooding:
            future.result()
        with servers.worker():
            if flood:
                while _left(servers) > 0.95 * flood:  # until all is warm
                    time.sleep(0.01)
            found = [_wait_s(servers, f"small-{number}") for number in range(small)]
            left = _left(servers)
    return {
        "flood": flood,
        "flood_left": left,
        "p50_s": round(statistics.median(found), 4),
        "max_s": round(max(found), 4),
    }


def _left(servers: Stack) -> int:
    (queue,) = servers.settings.topology.queues
    return sum(servers.unacked(tier.subscription) for tier in queue.tiers)


def _wait_s(servers: Stack, tenant: str) -> float:
    submitted_at = datetime.now(UTC)
    future, task_id = servers.submit("shared_recorded", tenant=tenant)
    future.result()
    ends_s = time.monotonic() + _LONGEST_S
    records = RecordStore(servers.store)
    while time.monotonic() < ends_s:
        stored = records.read(task_id)
        if stored is not None:
            return (stored.record.attempts[0].started_at - submitted_at).total_seconds()
        time.sleep(0.01)
    raise RuntimeError(f"the task of {tenant} has not started in {_LONGEST_S} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flood", type=int, default=20_000, help="tasks of the large tenant (20000)")
    parser.add_argument("--small", type=int, default=20, help="tasks of small tenants (20)")
    options = parser.parse_args()
    empty = waits(FAIR, flood=0, small=options.small)
    lines = {
        "empty": empty,
        "fair": waits(FAIR, flood=options.flood, small=options.small),
        "plain": waits(PIPELINE, flood=options.flood, small=1),
    }
    for name, line in lines.items():
        times = {"times_empty": round(line["p50_s"] / empty["p50_s"], 1)}
        print(json.dumps({"measurement": name, **line, **times, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
