"""A group of no-ops with its join, beside as many plain no-ops: time, and writes beyond the two of each task.

    python -m tests.kit.bench.groups [--members 10000] [--processes 2]

One line of JSON. Read the times only beside each other, on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

from poolhouse.pipeline import names
from poolhouse.pipeline.groups.group import JOIN
from poolhouse.pipeline.groups.members import CHUNK_MEMBERS
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from tests.kit.bench._stack import Stack, stack

_LOOK_S = 0.05


def plain(members: int, processes: int) -> dict[str, Any]:
    """As many tasks without a group."""
    with stack() as servers, servers.worker(processes=processes):
        started_s = time.perf_counter()
        servers.fill("noop", members)
        while servers.unacked():
            time.sleep(_LOOK_S)
        return {"plain_s": round(time.perf_counter() - started_s, 1)}


def group(members: int, processes: int) -> dict[str, Any]:
    """The group, from the submit of the task that makes it to the end of its join."""
    with stack() as servers, servers.worker(processes=processes):
        started_s = time.perf_counter()
        future, task_id = servers.submit("many", count=members)
        future.result()
        made = _ended(servers, task_id)
        made_s = time.perf_counter() - started_s
        join = _ended(servers, servers.task_ids.in_group(made.result, JOIN))
        took_s = time.perf_counter() - started_s
        objects = servers.written_at(f"{names.GROUPS}{made.result}/")
    if join.result != members:
        raise RuntimeError(f"the join found {join.result} results of {members}")
    marks = sum("/done/" in name for name in objects)
    chunks = -(-members // CHUNK_MEMBERS)
    last_member_s = (join.attempts[0].started_at - made.updated_at).total_seconds()
    return {
        "made_s": round(made_s, 1),
        "join_began_s_after": round(last_member_s, 1),
        "group_s": round(took_s, 1),
        "join_read_s": round((join.updated_at - join.attempts[0].started_at).total_seconds(), 1),
        "marks": marks,
        "chunks": chunks,
        "group_writes_a_member": round((marks + chunks + 1) / members, 4),
    }


def _ended(servers: Stack, task_id: str) -> TaskRecord:
    records = RecordStore(servers.store)
    while True:
        stored = records.read(task_id)
        if stored is not None and stored.record.status.final:
            if stored.record.status is not Status.SUCCEEDED:
                raise RuntimeError(f"{stored.record.task_type} is {stored.record.status}: {stored.record.reason}")
            return stored.record
        time.sleep(_LOOK_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=10_000, help="of the group (10,000)")
    parser.add_argument("--processes", type=int, default=2, help="worker processes (2)")
    options = parser.parse_args()
    line = {**group(options.members, options.processes), **plain(options.members, options.processes)}
    line["ratio"] = round(line["group_s"] / line["plain_s"], 2)
    print(json.dumps({"members": options.members, **line, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
