"""Limits that four worker processes share: how well they are kept and used, and what they cost in writes.

    python -m tests.kit.bench.limits [paced narrow in_turn] [--processes 4] [--scale 1.0]

One line of JSON each: what was declared, the most that was seen, how much of it was used while there was work for all,
and how often storage was written for the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from poolhouse.local.chaos.journal import Journal
from poolhouse.local.storage.proxy import FaultProxy
from poolhouse.pipeline import names
from tests.kit.bench._stack import stack

Line = dict[str, Any]
#: Begin and end of tasks: when, and +1 or -1.
Notes = Sequence[tuple[float, int]]


def paced(processes: int, scale: float) -> Line:
    """A rate of 40 a second."""
    count = int(1200 * scale)
    notes, line = _run("paced", [{}] * count, processes)
    starts = sorted(at_s for at_s, change in notes if change > 0)
    used = _middle(starts)
    return {
        "declared_per_s": 40,
        "most_in_a_second": max(sum(at_s <= other < at_s + 1 for other in starts) for at_s in starts),
        "used_per_s": round((len(used) - 1) / (used[-1] - used[0]), 1),
        **line,
    }


def narrow(processes: int, scale: float) -> Line:
    """Six at a time, 0.2 s each."""
    notes, line = _run("narrow", [{"seconds": 0.2}] * int(600 * scale), processes)
    used = _middle(sorted(at_s for at_s, change in notes if change > 0))
    return {
        "declared": 6,
        "most_at_a_time": max(accumulate(change for _, change in sorted(notes))),
        "used": round((len(used) - 1) / (used[-1] - used[0]) * 0.2, 1),
        **line,
    }


def in_turn(processes: int, scale: float) -> Line:
    """One at a time for each of 20 tenants, 20 ms each."""
    work = [{"tenant": str(number % 20), "seconds": 0.02} for number in range(int(600 * scale))]
    notes, line = _run("in_turn", work, processes)
    starts = sorted(at_s for at_s, change in notes if change > 0)
    return {"tenants": 20, "per_s": round(len(starts) / (starts[-1] - starts[0]), 1), **line}


def _run(task_type: str, payloads: Sequence[dict[str, Any]], processes: int) -> tuple[Notes, Line]:
    """Let processes that are ready work off tasks; what they noted, and the writes."""
    journal = Journal()
    with tempfile.TemporaryDirectory() as directory, stack() as servers:
        notes = Path(directory) / "notes"
        with FaultProxy(servers.environment["STORAGE_EMULATOR_HOST"], seed=1, on_exchange=journal.see) as proxy:
            servers.environment |= {
                "STORAGE_EMULATOR_HOST": proxy.url,
                "TASK_HANDLERS": "tests.kit.bench._limit_handlers",
                "LIMIT_NOTES": str(notes),
            }
            with servers.worker(processes=processes):
                for future in [servers.submit(task_type, **payload)[0] for payload in payloads]:
                    future.result()
                started_s = time.monotonic()
                while servers.unacked():
                    time.sleep(0.1)
                took_s = time.monotonic() - started_s
            lines = [line.split() for line in notes.read_text().splitlines()]
    writes = journal.writes(names.LIMITS)
    return [(float(at), int(change)) for at, change in lines], {
        "tasks": len(payloads),
        "processes": processes,
        "took_s": round(took_s, 1),
        "limit_writes": sum(map(len, writes.values())),
        "limit_writes_a_key_and_second": round(sum(map(len, writes.values())) / max(1, len(writes)) / took_s, 2),
    }


def _middle(starts: Sequence[float]) -> Sequence[float]:
    """The starts while there was work for all: without the first and the last quarter."""
    return starts[len(starts) // 4 : -len(starts) // 4]


MEASUREMENTS: dict[str, Callable[[int, float], Line]] = {run.__name__: run for run in (paced, narrow, in_turn)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all without")
    parser.add_argument("--processes", type=int, default=4, help="worker processes (4)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each (1.0)")
    options = parser.parse_args()
    unknown = set(options.names) - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    for name in options.names or MEASUREMENTS:
        line = MEASUREMENTS[name](options.processes, options.scale)
        print(json.dumps({"measurement": name, **line, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
