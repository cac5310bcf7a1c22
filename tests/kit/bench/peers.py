"""Dramatiq and Celery on a local Redis, from a full queue of one-INCR tasks: `python -m tests.kit.bench.peers`.

Beside them our worker on tasks with `record=False`, in the same run. Wants `redis-server` (Debian's package, or
`--redis-server PATH`); installs the pinned peers into `.poolhouse/bench-peers`, from the package index, the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from poolhouse.commands.project import uv
from poolhouse.local.processes import ports
from tests.kit.bench._stack import ROOT, cpu_s, stack

HERE = Path(__file__).parent
ENVIRONMENT = ROOT / ".poolhouse" / "bench-peers"
#: As many processes as the machine has cores, as both recommend; threads or processes within as they default to.
WORKERS = {
    "dramatiq": ("-m", "dramatiq", "_peer_dramatiq", "--processes", str(os.cpu_count()), "--threads", "8"),
    "celery": ("-m", "celery", "-A", "_peer_celery", "worker", "--concurrency", str(os.cpu_count()), "-l", "WARNING"),
}


def peers_python() -> Path:
    """The interpreter of the peers' environment, made where it is not there yet."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run(uv.command("venv", "--quiet", str(ENVIRONMENT)), check=True)
    wanted = str(HERE / "requirements-peers.txt")
    install = uv.command("pip", "install", "--quiet", "--python", str(python), "-r", wanted)
    subprocess.run(install, env=uv.environment(), check=True)
    return python


@contextmanager
def redis(binary: str) -> Iterator[tuple[str, int]]:
    """A Redis without persistence: its URL and port."""
    port = ports.choose()
    with tempfile.TemporaryDirectory() as directory:
        options = ("--port", str(port), "--bind", ports.HOST, "--save", "", "--appendonly", "no", "--dir", directory)
        server = subprocess.Popen((binary, *options), stdout=subprocess.DEVNULL)
        try:
            deadline_s = time.monotonic() + 10
            while ports.is_free(port):
                if time.monotonic() > deadline_s:
                    raise RuntimeError("redis-server did not start")
                time.sleep(0.02)
            yield f"redis://{ports.HOST}:{port}/0", port
        finally:
            server.terminate()
            server.wait(10)


def done(port: int) -> int:
    """How many tasks have left their mark."""
    with socket.create_connection((ports.HOST, port)) as connection:
        connection.sendall(b"GET done\r\n")
        head, _, body = connection.recv(1000).partition(b"\r\n")
    return 0 if head == b"$-1" else int(body)


def peer(name: str, count: int, *, python: Path, binary: str) -> dict[str, Any]:
    """Fill a queue, start the peer's worker, and measure it from the first tenth on."""
    with redis(binary) as (url, port):
        environment = {**os.environ, "PEER_REDIS": url}
        fill = f"import _peer_{name}; _peer_{name}.fill({count})"
        subprocess.run((str(python), "-c", fill), env=environment, cwd=HERE, check=True)
        worker = subprocess.Popen(
            (str(python), *WORKERS[name]),
            env=environment,
            cwd=HERE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            process = psutil.Process(worker.pid)
            while (first := done(port)) < 0.1 * count:
                time.sleep(0.01)
            started_s, cpu = time.perf_counter(), cpu_s(process)
            while done(port) < count:
                time.sleep(0.01)
            took_s = time.perf_counter() - started_s
            used = cpu_s(process) - cpu
        finally:
            worker.terminate()
            worker.wait(30)
    left = count - first
    return {"tasks_per_s": round(left / took_s), "worker_cpu_s_per_1000": round(1000 * used / left, 2)}


def ours(count: int, *, processes: int) -> dict[str, Any]:
    """Our worker without records."""
    with stack() as servers, servers.worker(processes=processes) as workers:
        drained = servers.work_off("unrecorded", count, workers)
    return {"tasks_per_s": round(drained.per_s), "worker_cpu_s_per_1000": round(drained.worker_cpu_s, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis-server", default=shutil.which("redis-server"), help="the binary")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the medians are printed at the end (1)")
    options = parser.parse_args()
    if options.redis_server is None:
        print("no peers measured: there is no redis-server (Debian: apt-get install redis-server)", file=sys.stderr)
        return 1
    try:
        python = peers_python()
    except subprocess.CalledProcessError as error:
        print(f"no peers measured: Dramatiq and Celery can't be installed ({error})", file=sys.stderr)
        return 1
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.repeat):
        lines = {name: peer(name, options.count, python=python, binary=options.redis_server) for name in WORKERS}
        lines |= {f"ours_{number}": ours(options.count, processes=number) for number in (1, os.cpu_count() or 1)}
        for name, line in lines.items():
            rates[name].append(line["tasks_per_s"])
            print(json.dumps({"worker": name, **line, "load": os.getloadavg()[0]}), flush=True)
    if options.repeat > 1:
        print(json.dumps({f"median_{name}": statistics.median(found) for name, found in rates.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
