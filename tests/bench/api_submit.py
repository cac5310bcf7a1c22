"""How many tasks a second the API accepts, and how long a submit takes: `python -m tests.bench.api_submit`.

Runs the Pub/Sub emulator, fake-gcs-server and `python -m api`, each in a process of its own, and sends submits over
kept connections. Prints one line of JSON for each concurrency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from local import fake_gcs
from local.fake_gcs import FakeGcs

PROJECT, BUCKET = "bench-api", "bench-api-bucket"
START_S = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], environment: Mapping[str, str], url: str) -> Iterator[psutil.Process]:
    """A process, once `url` answers; ended afterwards."""
    running = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(url, timeout=1).close()
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{command} does not answer at {url}") from None
                time.sleep(0.05)
        yield psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait(10)


@contextmanager
def stack() -> Iterator[tuple[int, psutil.Process]]:
    """The API's port and process, over an emulator and a bucket of its own."""
    root = fake_gcs.temporary_root()
    queue, storage, api = free_port(), free_port(), free_port()
    environment = {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "BUCKET_NAME": BUCKET,
        "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{queue}",
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage}",
    }
    emulator = [sys.executable, "-m", "local.pubsub", "--port", str(queue), "--topology", "pipeline.toml"]
    emulator += ["--project", PROJECT]
    with ExitStack() as running:
        running.callback(shutil.rmtree, root, ignore_errors=True)
        running.enter_context(process(emulator, {}, f"http://127.0.0.1:{queue}/admin/clock"))
        gcs = list(fake_gcs.command(port=storage, root=root))
        running.enter_context(process(gcs, {}, f"http://127.0.0.1:{storage}/_internal/healthcheck"))
        FakeGcs(f"http://127.0.0.1:{storage}").create_bucket(BUCKET)
        command = [sys.executable, "-m", "api", "--port", str(api)]
        serving = running.enter_context(process(command, environment, f"http://127.0.0.1:{api}/ready"))
        yield api, serving


def request(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def client(port: int, sent: bytes, count: int, times: list[float]) -> None:
    """One connection, one request after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        started = time.perf_counter()
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        times.append(time.perf_counter() - started)
        if status not in {200, 202}:
            raise RuntimeError(f"{status}: {answer.decode()}")
    writer.close()


async def load(port: int, sent: bytes, *, count: int, concurrency: int) -> tuple[float, list[float]]:
    times: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(client(port, sent, count // concurrency, times) for _ in range(concurrency)))
    return time.perf_counter() - started, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--path", default="/submit-task")
    body = {"task_type": "data_transformation", "dataset_size": 10, "transformation": "normalize"}
    parser.add_argument("--body", default=json.dumps(body))
    options = parser.parse_args()
    os.chdir(Path(__file__).parents[2])
    with stack() as (port, serving):
        sent = request(port, options.path, options.body.encode())
        asyncio.run(load(port, sent, count=500, concurrency=16))
        for concurrency in options.concurrency:
            before = serving.cpu_times()
            took, times = asyncio.run(load(port, sent, count=options.count, concurrency=concurrency))
            after = serving.cpu_times()
            cpu = after.user + after.system - before.user - before.system
            cuts = statistics.quantiles(times, n=1000)
            line = {
                "concurrency": concurrency,
                "accepted_per_s": round(len(times) / took),
                "p50_ms": round(1000 * cuts[499], 2),
                "p99_ms": round(1000 * cuts[989], 2),
                "max_ms": round(1000 * max(times), 1),
                "api_cpu_s_per_1000": round(1000 * cpu / len(times), 3),
            }
            print(json.dumps(line), flush=True)
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"load_generator_cpu_s": round(own.ru_utime + own.ru_stime, 2)}))


if __name__ == "__main__":
    main()
