"""Throughput, latency and cost of a worker beside the usual pull-batch-wait worker: `python -m tests.kit.bench.worker`.

    python -m tests.kit.bench.worker [storage backlog unrecorded latency mixed idle …] [--repeat 3] [--scale 1.0]

`storage` says what the others can reach at the most: its uploads a second by the two writes that a task with a record
costs. Every measurement runs on fresh servers, storage on a tmpfs. One line of JSON each; with `--repeat`, the medians
at the end. All processes share the machine: read figures only beside those of the same run, and on a quiet machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import psutil
import requests
import urllib3
from google.cloud import storage as storage_client

from poolhouse.local.processes import ports
from poolhouse.local.storage.proxy import Mutation, WriteLimits
from poolhouse.pipeline import names
from poolhouse.pipeline.gcs.json_objects import SmallObjects
from tests.kit.bench._stack import BUCKET, PROJECT, Stack, cpu_s, stack

#: Writes that a task with a record costs: claim and end.
WRITES_A_TASK = 2
#: A record is about this large.
RECORD_BYTES = 600
Line = dict[str, Any]


def _quantiles(seconds: list[float]) -> Line:
    cuts = statistics.quantiles(seconds, n=1000, method="inclusive")
    return {
        "p50_ms": round(1000 * cuts[499], 1),
        "p90_ms": round(1000 * cuts[899], 1),
        "p99_ms": round(1000 * cuts[989], 1),
        "max_ms": round(1000 * max(seconds), 1),
    }


def storage(scale: float) -> Line:
    """Small uploads a second over raw connections: what storage allows on this machine, now."""
    count = int(2000 * scale)
    with stack() as servers:
        rates = {connections: _uploads(servers, count, connections) for connections in (1, 4)}
    return {f"uploads_per_s_{connections}": round(rate) for connections, rate in rates.items()}


def _uploads(servers: Stack, count: int, connections: int) -> float:
    host = servers.environment["STORAGE_EMULATOR_HOST"].removeprefix("http://")
    head = b'--x\r\ncontent-type: application/json\r\n\r\n{"name":"%s"}\r\n--x\r\ncontent-type: text/plain\r\n\r\n'
    data = b"x" * RECORD_BYTES
    url = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart&ifGenerationMatch=0"

    def upload(lane: int) -> None:
        connection = http.client.HTTPConnection(host)
        for number in range(count // connections):
            body = head % f"tasks/{connections}-{lane}-{number}.json".encode() + data + b"\r\n--x--"
            connection.request("POST", url, body, {"Content-Type": "multipart/related; boundary=x"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise RuntimeError(f"storage answers {answer.status}")
        connection.close()

    threads = [threading.Thread(target=upload, args=(lane,)) for lane in range(connections)]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - started_s)


def storage_clients(scale: float) -> Line:
    """CPU of small writes in three ways: Google's client, our requests over urllib3, and as they are."""
    count = int(1000 * scale)
    line: Line = {}
    with stack() as servers:
        bucket = storage_client.Client(project=PROJECT).bucket(BUCKET)
        origin = servers.environment["STORAGE_EMULATOR_HOST"]
        general = SmallObjects(urllib3.PoolManager(), endpoint=origin, bucket=BUCKET, timeout_s=10)
        ways: dict[str, Callable[[str], object]] = {
            "google": lambda name: bucket.blob(name).upload_from_string("x" * RECORD_BYTES, if_generation_match=0),
            "urllib3": lambda name: general.put(
                name, b"x" * RECORD_BYTES, content_type="text/plain", metadata=None, if_generation=0
            ),
            "ours": lambda name: servers.store.put(name, b"x" * RECORD_BYTES, if_generation=0),
        }
        for way, write in ways.items():
            write(f"{way}/warm-up")
            before = time.process_time()
            for number in range(count):
                write(f"{way}/{number}")
            line[f"{way}_cpu_s_per_1000"] = round(1000 * (time.process_time() - before) / count, 3)
    return line


def backlog(scale: float) -> Line:
    """No-op tasks with records from a full queue."""
    line = _backlog("noop", int(3000 * scale))
    return {**line, "uploads_per_s": round(line["tasks_per_s"] * WRITES_A_TASK)}


def backlog_traced(scale: float) -> Line:
    """The same with traces, in files."""
    with tempfile.TemporaryDirectory() as folder:
        return _backlog("noop", int(3000 * scale), environment={"TRACES_EXPORTER": "file", "TRACES_DIR": folder})


def backlog_metered(scale: float) -> Line:
    """The same with metrics, at an address that Prometheus would read."""
    environment = {"METRICS_EXPORTER": "prometheus", "METRICS_PORT": str(ports.choose())}
    return _backlog("noop", int(3000 * scale), environment=environment)


def backlog_relayed(scale: float) -> Line:
    """The first one through a proxy that limits nothing: what to compare the next one with."""
    return _backlog("noop", int(1500 * scale), relayed=True)


def backlog_gcs_limits(scale: float) -> Line:
    """The same through a proxy that takes writes at the rates of Cloud Storage."""
    refused: list[Mutation] = []
    limits = WriteLimits(on_refused=refused.append)
    line = _backlog("noop", int(1500 * scale), relayed=True, write_limits=limits)
    return {**line, "answers_429": len(refused)}


def backlog_2(scale: float) -> Line:
    """The first one with two worker processes."""
    return _backlog("noop", int(3000 * scale), processes=2)


def stepped(scale: float) -> Line:
    """The first one with five steps a task: as many writes."""
    return _backlog("stepped", int(3000 * scale))


def unrecorded(scale: float) -> Line:
    """No-op tasks with record=False from a full queue."""
    return _backlog("unrecorded", int(10000 * scale))


def unrecorded_2(scale: float) -> Line:
    """The same with two worker processes."""
    return _backlog("unrecorded", int(10000 * scale), processes=2)


def baseline(scale: float) -> Line:
    """The usual worker from a full queue: one upload a task, no sleeps."""
    return _backlog("noop", int(1500 * scale), "tests.kit.bench.baseline")


def _backlog(
    task_type: str,
    count: int,
    *command: str,
    processes: int = 1,
    relayed: bool = False,
    write_limits: WriteLimits | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Line:
    with (
        stack(relayed=relayed, write_limits=write_limits, more=environment) as servers,
        servers.worker(*command, processes=processes) as workers,
    ):
        drained = servers.work_off(task_type, count, workers)
    return {
        "tasks_per_s": round(drained.per_s),
        "worker_cpu_s_per_1000": round(drained.worker_cpu_s, 2),
        "servers_cpu_s_per_1000": round(drained.servers_cpu_s, 2),
    }


def latency(scale: float) -> Line:
    """POST to result visible, one task after the other, in an idle pipeline."""
    return _latency(int(150 * scale), gap_s=lambda: 0.05)


def latency_gaps(scale: float) -> Line:
    """The same with random gaps: up to 4 s, or up to 40 with `--scale 10`."""
    return _latency(20, gap_s=lambda: random.uniform(0, 4 * scale))


def latency_baseline(scale: float) -> Line:
    """The same gaps with the usual worker, which sleeps 1 s after an empty pull."""
    return _latency(20, "tests.kit.bench.baseline", "--idle-sleep", "1", gap_s=lambda: random.uniform(0, 4 * scale))


def _latency(count: int, *command: str, gap_s: Callable[[], float]) -> Line:
    ours = not command
    with stack() as servers, servers.worker(*command) as (worker,), servers.api() as (url, api):
        session = requests.Session()
        started: dict[str, datetime] = {}
        cpu = cpu_s(worker), cpu_s(api)
        for number in range(count + 10):
            at = datetime.now(UTC)
            answer = session.post(f"{url}/submit-task", json={"task_type": "noop", "number": number}, timeout=10)
            answer.raise_for_status()
            if number >= 10:  # the first ones warm up
                task_id = answer.json()["task_id"]
                started[names.record(task_id) if ours else f"results/{task_id}.json"] = at
            time.sleep(gap_s())
        while servers.unacked():
            time.sleep(0.02)
        written = servers.written_at("tasks/" if ours else "results/")
        used = cpu_s(worker) - cpu[0], cpu_s(api) - cpu[1]
    each = 1000 / (count + 10)
    return {
        **_quantiles([(written[name] - at).total_seconds() for name, at in started.items()]),
        "worker_cpu_s_per_1000": round(used[0] * each, 2),
        "api_cpu_s_per_1000": round(used[1] * each, 2),
    }


def half_load(scale: float) -> Line:
    """Latency at 100 tasks a second."""
    return _paced(scale, long_share=0.0, per_s=100)


def mixed(scale: float) -> Line:
    """Latency of short tasks at 40 a second, without and with 1 % of tasks that take 5 s."""
    without, with_long = (_paced(scale, long_share=share, per_s=40) for share in (0.0, 0.01))
    return {**{f"without_{key}": value for key, value in without.items()}, **with_long}


def mixed_baseline(scale: float) -> Line:
    """The same for the usual worker."""
    arguments = ("tests.kit.bench.baseline",)
    without, with_long = (_paced(scale, *arguments, long_share=share, per_s=40) for share in (0.0, 0.01))
    return {**{f"without_{key}": value for key, value in without.items()}, **with_long}


def _paced(scale: float, *command: str, long_share: float, per_s: float) -> Line:
    rng = random.Random(1)
    started: dict[str, datetime] = {}
    with stack() as servers, servers.worker(*command) as workers:
        for _ in range(50):
            servers.submit("noop")
        while servers.unacked():
            time.sleep(0.02)
        cpu = cpu_s(workers[0])
        begin_s = time.perf_counter()
        count = int(15 * scale * per_s)
        for number in range(count):
            time.sleep(max(0.0, begin_s + number / per_s - time.perf_counter()))
            if rng.random() < long_share:
                servers.submit("nap", seconds=5)
                continue
            at = datetime.now(UTC)
            _, task_id = servers.submit("noop", number=number)
            started[f"results/{task_id}.json" if command else names.record(task_id)] = at
        while servers.unacked():
            time.sleep(0.05)
        used = cpu_s(workers[0]) - cpu
        written = servers.written_at("results/" if command else "tasks/")
    return {
        **_quantiles([(written[name] - at).total_seconds() for name, at in started.items()]),
        "worker_cpu_s_per_1000": round(1000 * used / count, 2),
    }


def idle(scale: float) -> Line:
    """Memory and CPU of a worker that has nothing to do, all of its queues open."""
    with stack() as servers, servers.worker() as (worker,):
        servers.fill("noop", 20)
        while servers.unacked():
            time.sleep(0.02)
        time.sleep(1)
        before, started_s = cpu_s(worker), time.perf_counter()
        time.sleep(15 * scale)
        used = (cpu_s(worker) - before) / (time.perf_counter() - started_s)
        memory = psutil.Process(worker.pid).memory_info().rss
    return {"cpu_percent": round(100 * used, 2), "rss_mb": round(memory / 1e6)}


MEASUREMENTS: dict[str, Callable[[float], Line]] = {
    run.__name__: run
    for run in (
        storage,
        storage_clients,
        backlog,
        backlog_traced,
        backlog_metered,
        stepped,
        backlog_relayed,
        backlog_gcs_limits,
        backlog_2,
        unrecorded,
        unrecorded_2,
        baseline,
        latency,
        latency_gaps,
        latency_baseline,
        half_load,
        mixed,
        mixed_baseline,
        idle,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASUREMENTS)}; all without")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the medians are printed at the end (1)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each (1.0)")
    options = parser.parse_args()
    unknown = set(options.names) - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    lines: dict[str, list[Line]] = defaultdict(list)
    for _ in range(options.repeat):
        for name in options.names or MEASUREMENTS:
            line = MEASUREMENTS[name](options.scale)
            lines[name].append(line)
            print(json.dumps({"measurement": name, **line, "load": os.getloadavg()[0]}), flush=True)
    if options.repeat > 1:
        for name, found in lines.items():
            medians = {key: statistics.median(line[key] for line in found) for key in found[0]}
            print(json.dumps({"median_of": name, **medians}))


if __name__ == "__main__":
    main()
