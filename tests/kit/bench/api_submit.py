"""How many tasks a second the API accepts, and how long a submit takes: `python -m tests.kit.bench.api_submit`.

Runs the Pub/Sub emulator, fake-gcs-server and `python -m poolhouse.api`, each in a process of its own, and sends
submits over kept connections. Prints one line of JSON for each concurrency. With `--baseline` the same for the
usual API, in the same run: once as it is mostly written, waiting in the event loop, and once on threads. With `--text`
also payloads of so many bytes: in their messages, or beyond `payloads.inline_bytes` as objects of the bucket. With
`--features` also delayed and unique tasks, and chains, beside plain ones of the same call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.kit.bench._stack import cpu_s, stack


def request(port: int, path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


#: The request of a number.
Make = Callable[[int], bytes]


async def client(port: int, make: Make, numbers: Iterable[int], times: list[float]) -> None:
    """One connection, one request after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        sent = make(number)
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


async def load(port: int, make: Make, *, count: int, concurrency: int) -> tuple[float, list[float]]:
    times: list[float] = []
    started = time.perf_counter()
    each = count // concurrency
    shares = (range(first * each, (first + 1) * each) for first in range(concurrency))
    await asyncio.gather(*(client(port, make, share, times) for share in shares))
    return time.perf_counter() - started, times


#: What is measured, by name: the module that serves, and its arguments; nothing for ours.
SERVERS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "baseline": ("tests.kit.bench._baseline_api",),
    "baseline_threads": ("tests.kit.bench._baseline_api", "--threads"),
}


#: What a submit asks for, by name, beside its task type and payload.
FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "delayed 5 minutes": {"delay_s": 300},
    "delayed a day": {"delay_s": 86_400},
    "unique": {"unique": {"by": ["number"]}},
    "chain": {"then": [{"task_type": "last"}]},
}


def featured(port: int, more: dict[str, Any], first: int) -> Make:
    """Requests of tasks that are all different, from a number on."""

    def make(number: int) -> bytes:
        body = {"task_type": "noop", "payload": {"number": first + number}, **more}
        return request(port, "/tasks", json.dumps(body).encode())

    return make


#: Bytes sent for one figure about large payloads.
TEXT_BYTES = 200_000_000


def measure(name: str, options: argparse.Namespace) -> None:
    """Print a line for each concurrency, and for each size of a text."""
    with stack() as servers, servers.api(*SERVERS[name]) as (url, serving):
        port = int(url.rpartition(":")[2])
        sent = request(port, options.path, options.body.encode())
        asyncio.run(load(port, lambda number: sent, count=min(500, options.count), concurrency=16))
        cases: list[tuple[Make, int, int, dict[str, Any]]] = [
            (lambda number: sent, options.count, concurrency, {}) for concurrency in options.concurrency
        ]
        for size in options.text:
            body = json.dumps({"task_type": "text", "text": "x" * size}).encode()
            text = request(port, options.path, body)
            count = max(20, min(400, TEXT_BYTES // size))
            cases.append((lambda number, text=text: text, count, 4, {"text_bytes": size}))  # type: ignore[misc]
        for first, (feature, more) in enumerate(FEATURES.items()) if options.features else ():
            make = featured(port, more, first * options.count)
            cases.append((make, options.count, 16, {"feature": feature}))
        for make, count, concurrency, what in cases:
            before = cpu_s(serving)
            took, times = asyncio.run(load(port, make, count=count, concurrency=concurrency))
            used = cpu_s(serving) - before
            cuts = statistics.quantiles(times, n=1000)
            line = {
                "api": name,
                **what,
                "concurrency": concurrency,
                "accepted_per_s": round(len(times) / took),
                "p50_ms": round(1000 * cuts[499], 2),
                "p99_ms": round(1000 * cuts[989], 2),
                "max_ms": round(1000 * max(times), 1),
                "api_cpu_s_per_1000": round(1000 * used / len(times), 3),
                "load": os.getloadavg()[0],
            }
            print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--path", default="/submit-task")
    parser.add_argument("--body", default=json.dumps({"task_type": "noop", "number": 1}))
    parser.add_argument("--text", type=int, nargs="*", default=[], metavar="BYTES", help="payloads of this size too")
    parser.add_argument("--features", action="store_true", help="delayed and unique tasks and chains too")
    parser.add_argument("--baseline", action="store_true", help="the usual API too")
    options = parser.parse_args()
    for name in SERVERS if options.baseline else ("ours",):
        measure(name, options)
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"load_generator_cpu_s": round(own.ru_utime + own.ru_stime, 2)}))


if __name__ == "__main__":
    main()
