"""Pages of the console over an index of 100,000 tasks, beside the same pages over 1,000.

    ./invoke bench --name console
    ./invoke bench --name console -- --tasks 10000
    ./invoke bench --name console -- --paint          # the first paint in Chromium

The API runs over a bucket in memory whose index has the tasks: what is measured is the console, the API and the index.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from poolhouse.local.backend import Endpoints
from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import LocalStack
from poolhouse.local.processes import ports
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.index import entry as entries
from poolhouse.pipeline.index.entry import Entry
from poolhouse.pipeline.index.segments import SNAPSHOT
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Attempt, Outcome, Status, TaskRecord
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from tests.kit.browser.conftest import OPTIONS, program
from tests.kit.unit.api.conftest import application, settings
from tests.kit.unit.local.console.conftest import HOST, MadeUpBackend, StoreBucket

REPEATS, PAINTS = 15, 7
#: When something was first painted, once it is.
_FIRST_PAINT = """() => new Promise(tell => new PerformanceObserver(list => {
    for (const { name, startTime } of list.getEntries()) if (name === "first-contentful-paint") tell(startTime);
}).observe({ type: "paint", buffered: true }))"""
#: Of each hundred tasks: children of one parent, and delayed ones; the others have ended.
CHILDREN, DELAYED = 10, 10
#: Groups, which share a tenth of the tasks.
GROUPS = 20


def fill(store: MemoryStore, count: int) -> Mapping[str, str]:
    """Write an index of so many tasks; returns the paths of the pages to look at, by name."""
    ids, now = load_task_ids(store), datetime.now(UTC)
    parent = ids.new(now)
    groups = [ids.new_group(now - timedelta(seconds=number)) for number in range(GROUPS)]
    for group_id in groups:
        GroupStore(store).create(Group(group_id=group_id, created_at=now, size=count // 10 // GROUPS))
    lines: list[bytes] = []
    for number in range(count):
        at = now - timedelta(seconds=count - number)
        part = number % 100
        member = part >= 90
        place = number // 100 * 10 + part - 90
        delayed = CHILDREN <= part < CHILDREN + DELAYED
        status = Status.SCHEDULED if delayed else Status.DEAD if part == 0 else Status.SUCCEEDED
        ended = None if delayed else entries.micros(at) + 9
        record = TaskRecord(
            task_id=ids.in_group(groups[place % GROUPS], place // GROUPS) if member else ids.new(at),
            task_type="anything",
            queue="bulk",
            status=status,
            submitted_at=at,
            updated_at=at,
            payload={"value": f"customers/{number}.csv"},
            parent_id=parent if part < CHILDREN else None,
            not_before=now + timedelta(seconds=number) if delayed else None,
        )
        lines.append(entries.to_line(Entry(*entries.of_record(record)._replace(ended=ended))))
    store.put(SNAPSHOT, gzip.compress(b"".join(lines), 1), content_type="application/gzip")
    attempt = Attempt(number=1, worker="w", started_at=now, ended_at=now, outcome=Outcome.SUCCEEDED)
    RecordStore(store).write(
        TaskRecord(
            task_id=parent,
            task_type="anything",
            queue="bulk",
            status=Status.SUCCEEDED,
            submitted_at=now,
            updated_at=now,
            attempts=(attempt,),
            payload={"value": "uploads/a.csv"},
            group_id=groups[0],
        ),
        if_generation=ABSENT,
    )
    return {
        "overview": "/",
        "tasks": "/tasks",
        "tasks, dead": "/tasks?status=failed,dead",
        "tasks, text": "/tasks?text=customers/77",
        "children, dead": f"/tasks?parent_id={parent}&status=dead",
        "a parent": f"/tasks/{parent}",
        "delayed": "/delayed",
        "groups": "/groups",
        "members": f"/tasks?group_id={groups[0]}",
        "limits": "/limits",
    }


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application on a port of its own; gives its URL."""
    with ports.listen(0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def console(store: MemoryStore) -> Iterator[ASGIApp]:
    """The console of an API over a bucket, with a server of its own in between as in life."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Path(folder) / "pipeline.toml"
        pipeline.write_text("[queues.default]\n[queues.bulk]\n")
        environment = settings(pipeline_file=str(pipeline), show_tracebacks=True)
        api = application(store, MemoryTopics(), ManualClock(datetime.now(UTC)), environment=environment)
        with serving(api) as url:
            where = Endpoints(api_url=url, pubsub_host="127.0.0.1:9", storage_url="", project="p", bucket="b")
            yield create_app(
                LocalStack(
                    lambda: MadeUpBackend(where), state_dir=Path(folder), open_bucket=lambda *_: StoreBucket(store)
                )
            )


def measure(count: int) -> dict[str, float]:
    """The median time of each page, in milliseconds."""
    store = MemoryStore()
    paths = fill(store, count)
    figures = {}
    with console(store) as app, TestClient(app, base_url=f"http://{HOST}") as client:
        for name, path in paths.items():
            taken = []
            for _ in range(REPEATS + 1):
                began_s = time.perf_counter()
                answer = client.get(path)
                taken.append(1000 * (time.perf_counter() - began_s))
                assert answer.status_code == 200, (name, answer.text)
            figures[name] = round(statistics.median(taken[1:]), 1)  # the first one loads the index
    return figures


def paints(count: int) -> dict[str, float]:
    """When a browser first paints each page, in milliseconds after it was asked for: the median.

    Each visit is a new tab of a profile without a cache.
    """
    store = MemoryStore()
    paths = fill(store, count)
    figures = {}
    with console(store) as app, serving(app) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=OPTIONS)
        for name, path in paths.items():
            taken = []
            for _ in range(PAINTS + 1):
                with browser.new_context(base_url=url) as context:
                    page = context.new_page()
                    page.goto(path)
                    taken.append(float(page.evaluate(_FIRST_PAINT)))
            figures[name] = round(statistics.median(taken[1:]), 1)  # as in `measure`
        browser.close()
    return figures


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--paint", action="store_true", help="the first paint in Chromium instead")
    options = parser.parse_args()
    look = paints if options.paint else measure
    few, many = look(1000), look(options.tasks)
    print(
        json.dumps(
            {name: {"1,000 tasks, ms": few[name], f"{options.tasks:,} tasks, ms": many[name]} for name in few}, indent=2
        )
    )


if __name__ == "__main__":
    main()
