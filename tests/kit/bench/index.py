"""Listings, counts and searches over 100,000 tasks: from the index, and by the scan of all records that it replaced.

    ./invoke bench --name index
    ./invoke bench --name index -- --tasks 10000

The records are written to the local storage server first, without the index, so the first figure is the time that a
bucket of that size takes to be indexed: every record is listed and read.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from poolhouse.pipeline.control.filters import Filter
from poolhouse.pipeline.index.database import TaskQuery
from poolhouse.pipeline.index.journal import Journal
from poolhouse.pipeline.index.task_index import LIST_S, TaskIndex
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Attempt, ErrorInfo, Outcome, Status, TaskRecord
from tests.kit.bench._stack import Stack, stack

THREADS = 16
REPEATS = 15
WORDS = ("invoice", "orders", "report", "customer", "thumbnail", "Łódź", "Rome", "nightly", "export", "retry")


def record(number: int, *, task_id: str, at: datetime) -> TaskRecord:
    """Return a record as pipelines have them: most have succeeded, one in a hundred is dead."""
    draw = random.Random(number)
    payload = {
        "source": f"{draw.choice(WORDS)}/{number}.csv",
        "customer": draw.choice(WORDS),
        "rows": draw.randrange(10**6),
    }
    status = draw.choices((Status.SUCCEEDED, Status.DEAD, Status.QUEUED, Status.RUNNING), (95, 1, 3, 1))[0]
    begun = at + timedelta(seconds=draw.random() * 5)
    ended = begun + timedelta(seconds=draw.random() * 9)
    final = status.final
    error = ErrorInfo(type="ValueError", message=f"row {number} has 7 fields") if status is Status.DEAD else None
    attempt = Attempt(
        number=1,
        worker="w",
        started_at=begun,
        ended_at=ended if final else None,
        outcome=Outcome.SUCCEEDED if status is Status.SUCCEEDED else Outcome.FAILED if final else Outcome.RUNNING,
        error=error,
    )
    return TaskRecord(
        task_id=task_id,
        task_type=draw.choice(("file_processing", "data_transformation", "mail")),
        queue=draw.choice(("urgent", "default", "bulk")),
        status=status,
        submitted_at=at,
        updated_at=ended if final else begun,
        payload=payload,
        attempts=() if status is Status.QUEUED else (attempt,),
        result={"rows_out": number, "output": f"processed/{number}.parquet"} if status is Status.SUCCEEDED else None,
        reason=None if error is None else f"all 5 attempts used up; the last one: {error.message}",
    )


def fill(servers: Stack, count: int) -> None:
    """Write so many records, past the index."""
    kept, now = RecordStore(servers.store), datetime.now(UTC)

    def write(number: int) -> None:
        at = now - timedelta(seconds=count - number)
        kept.write(record(number, task_id=servers.task_ids.new(at), at=at), if_generation=ABSENT)

    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(write, range(count)):
            pass


def scan(servers: Stack, wanted: Filter) -> int:
    """Count by reading the listing of all records, as every filter did before."""
    return sum(
        wanted.matches(queue=each.queue, task_type=each.task_type, status=each.status, at=each.submitted_at)
        for each in RecordStore(servers.store).summaries(timeout_s=LIST_S)
    )


def timed(work: Callable[[], Any], *, repeats: int = REPEATS) -> tuple[float, Any]:
    """The median time in milliseconds, and what came of it."""
    times, result = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times), result


def open_index(servers: Stack, journal: Journal | None = None) -> TaskIndex:
    return TaskIndex(
        servers.store,
        journal=journal,
        longest_wait=timedelta(days=7),
        keep=None,
        clock=lambda: datetime.now(UTC),
    )


def measure(servers: Stack, count: int) -> dict[str, Any]:
    """Every figure, in the order in which a person would meet them."""
    fill(servers, count)
    process = psutil.Process()
    before = process.memory_info().rss
    index = open_index(servers)
    built_ms, _ = timed(index.current, repeats=1)
    figures: dict[str, Any] = {"tasks": count, "indexed from the records, s": round(built_ms / 1000, 1)}
    again = open_index(servers)
    loaded_ms, _ = timed(again.current, repeats=1)
    again.close()
    figures["loaded from the snapshot, s"] = round(loaded_ms / 1000, 2)
    rebuilt_ms, rebuilt = timed(index.rebuild, repeats=1)
    figures["compared with the records, s"] = round(rebuilt_ms / 1000, 1)
    assert (rebuilt.records, rebuilt.corrected) == (count, 0)
    queries = {
        "newest page": TaskQuery(),
        "status and queue": TaskQuery(statuses=frozenset({"dead"}), queue="bulk"),
        "type, second half": TaskQuery(
            task_type="mail", submitted_before=datetime.now(UTC) - timedelta(seconds=count / 2)
        ),
        "id prefix": TaskQuery(id_prefix=index.page(TaskQuery(), size=1)[0].task_id[:12]),
        "text, common": TaskQuery(text="invoice"),
        "text, rare": TaskQuery(
            text=f"row {index.page(TaskQuery(statuses=frozenset({'dead'})), size=1)[0].reason[-20:]}"
        ),
        "text, none": TaskQuery(text="no such text anywhere"),
    }
    for name, query in queries.items():
        page_ms, _ = timed(lambda query=query: index.page(query, size=100))  # type: ignore[misc]
        count_ms, _ = timed(lambda query=query: index.counts(query))  # type: ignore[misc]
        figures[f"{name}: page, count, ms"] = (round(page_ms, 1), round(count_ms, 1))
    figures["memory, MB"] = round((process.memory_info().rss - before) / 1e6)
    scan_ms, scanned = timed(lambda: scan(servers, Filter(status=frozenset({Status.DEAD}), queue="bulk")), repeats=1)
    index_ms, counted = timed(lambda: sum(index.counts(queries["status and queue"]).values()))
    assert scanned == counted
    figures["status and queue by the scan, ms"] = round(scan_ms)
    figures["scan : index"] = round(scan_ms / index_ms)
    figures |= writes(servers, index)
    index.close()
    return figures


def writes(servers: Stack, index: TaskIndex) -> dict[str, Any]:
    """What the journal costs a process that ends 2,000 tasks: CPU, and objects written."""
    journal = Journal(servers.store, flush_s=2)
    now = datetime.now(UTC)
    ended = [record(number, task_id=servers.task_ids.new(now), at=now) for number in range(2000)]
    began = time.process_time()
    for each in ended:
        journal.note(each)
    noted = time.process_time()
    journal.flush()
    flushed = time.process_time()
    journal.close()
    return {
        "noted, µs a task": round(1e6 * (noted - began) / len(ended), 1),
        "written down, µs a task": round(1e6 * (flushed - noted) / len(ended), 1),
    }


def main() -> None:
    """Measure, and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tasks", type=int, default=100_000)
    with stack() as servers:
        print(json.dumps(measure(servers, options.parse_args().tasks), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
