"""What the measurements run on: fresh servers, each a process of its own, storage in memory (tmpfs)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import requests

from poolhouse.local import provision
from poolhouse.local.processes import ports
from poolhouse.local.storage import fake_gcs
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.local.storage.proxy import FaultProxy, WriteLimits
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.messaging.pubsub_transport import PubSubTopics
from poolhouse.pipeline.store import GcsStore, open_store
from poolhouse.pipeline.tasks.task_id_key import load_task_ids

ROOT = Path(__file__).parents[3]
PROJECT, BUCKET = "bench-project", "bench-bucket"
TOPIC, SUBSCRIPTION = "bench-default", "bench-default-workers"
PIPELINE = """
name = "bench"
[queues.default]
ack_deadline_s = 60
retry_min_backoff_s = 0
[queues.default.workers]
concurrency = 16
"""
_START_S = 30


@dataclass(frozen=True)
class Drained:
    """How a backlog was worked off."""

    per_s: float
    #: CPU seconds of the worker processes for 1,000 tasks.
    worker_cpu_s: float
    #: The same of storage server and Pub/Sub emulator, which share the machine.
    servers_cpu_s: float


class Stack:
    """Servers, and what a measurement does with them."""

    def __init__(self, pubsub: psutil.Process, storage: psutil.Process, environment: Mapping[str, str]) -> None:
        self._servers = (pubsub, storage)
        self.environment = dict(environment)
        self.settings = Settings()
        self.store: GcsStore = open_store(self.settings)
        self.task_ids = load_task_ids(self.store)
        self.publisher = Publisher(self.settings, topics=PubSubTopics(PROJECT))
        self._session = requests.Session()

    def submit(self, task_type: str, **payload: Any) -> Any:
        """Publish a task; the future of its message, and its id."""
        now = datetime.now(UTC)
        task = TaskMessage(
            task_id=self.task_ids.new(now), task_type=task_type, submitted_at=now, queue="default", payload=payload
        )
        return self.publisher.submit(task), task.task_id

    def fill(self, task_type: str, count: int) -> None:
        """A backlog."""
        for future in [self.submit(task_type)[0] for _ in range(count)]:
            future.result()

    def unacked(self, subscription: str = SUBSCRIPTION) -> int:
        """Messages that are not done."""
        url = f"http://{self.environment['PUBSUB_EMULATOR_HOST']}/admin/subscriptions/{PROJECT}/{subscription}"
        view = self._session.get(url, timeout=10).json()
        return int(view["undelivered"] + view["outstanding"] + view["delayed"])

    def work_off(self, task_type: str, count: int, workers: Sequence[psutil.Process]) -> Drained:
        """Let workers that are ready find a backlog of `count`; measured from its first tenth on, when all is warm.

        They are held still while it is made: a worker that starts into a backlog is slow to say that it is ready, and
        two would not begin together.
        """
        for worker in workers:
            worker.suspend()
        self.fill(task_type, count)
        for worker in workers:
            worker.resume()
        while (left := self.unacked()) > 0.9 * count:
            time.sleep(0.01)
        started_s, cpu_s, servers_s = time.perf_counter(), _cpu(workers), _cpu(self._servers)
        while self.unacked():
            time.sleep(0.01)
        took_s = time.perf_counter() - started_s
        if left < 0.5 * count:
            raise RuntimeError(f"the backlog of {count} was worked off too fast to be measured: take a larger --scale")
        each = 1000 / left
        return Drained(left / took_s, (_cpu(workers) - cpu_s) * each, (_cpu(self._servers) - servers_s) * each)

    def written_at(self, prefix: str) -> dict[str, datetime]:
        """When storage took the last write of each object below a prefix."""
        found: dict[str, datetime] = {}
        token: str | None = None
        while True:
            page = self.store.list(prefix, page_token=token)
            found |= {info.name: info.updated_at for info in page.objects if info.updated_at is not None}
            token = page.next_token
            if token is None:
                return found

    @contextmanager
    def worker(self, *command: str, processes: int = 1) -> Iterator[tuple[psutil.Process, ...]]:
        """Worker processes, once they are ready; by default ours."""
        with ExitStack() as running:
            yield tuple(
                running.enter_context(self._worker(command or ("poolhouse.worker", "run"))) for _ in range(processes)
            )

    @contextmanager
    def _worker(self, command: tuple[str, ...]) -> Iterator[psutil.Process]:
        with tempfile.TemporaryFile() as log:
            running = subprocess.Popen(
                (sys.executable, "-m", *command), stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=self.environment
            )
            try:
                deadline_s = time.monotonic() + _START_S
                while b"worker ready" not in _content(log):
                    if running.poll() is not None or time.monotonic() > deadline_s:
                        raise RuntimeError(f"{command} did not start: {_content(log).decode()[-2000:]}")
                    time.sleep(0.01)
                yield psutil.Process(running.pid)
            finally:
                running.terminate()
                running.wait(20)

    @contextmanager
    def api(self, *command: str) -> Iterator[tuple[str, psutil.Process]]:
        """Address and process of an API, by default ours."""
        port = ports.choose()
        url = f"http://{ports.HOST}:{port}"
        arguments = (sys.executable, "-m", *(command or ("poolhouse.api",)), "--port", str(port))
        with _process(arguments, self.environment, f"{url}/ready") as process:
            yield url, process


def _content(log: Any) -> bytes:
    log.seek(0)
    data: bytes = log.read()
    return data


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds that a process and its children have used."""
    return _cpu((process,))


def _cpu(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def _process(command: tuple[str, ...], environment: Mapping[str, str], url: str) -> Iterator[psutil.Process]:
    running = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"{command} does not answer at {url}") from None
                time.sleep(0.02)
        yield psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def stack(
    pipeline: str = PIPELINE,
    *,
    relayed: bool = False,
    write_limits: WriteLimits | None = None,
    more: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Stack]:
    """Fresh servers with an empty queue and an empty bucket; the environment of this process names them.

    Args:
        pipeline: the text of pipeline.toml.
        relayed: whether storage is reached through a proxy in this process.
        write_limits: rates that the proxy enforces; None for none.
        more: further variables of the programs that are started on it.
    """
    with ExitStack() as running:
        root = fake_gcs.temporary_root()
        running.callback(shutil.rmtree, root, ignore_errors=True)
        (root / "pipeline.toml").write_text(pipeline)
        queue, storage, inner = ports.choose(), ports.choose(), fake_gcs.hidden_address()
        variables = {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "BUCKET_NAME": BUCKET,
            "PIPELINE_FILE": str(root / "pipeline.toml"),
            "TASK_HANDLERS": "tests.kit.bench._handlers",
            "PUBSUB_EMULATOR_HOST": f"{ports.HOST}:{queue}",
            "STORAGE_EMULATOR_HOST": f"http://{inner}",
        }
        os.environ.update(variables)
        command = (sys.executable, "-m", "poolhouse_pubsub", "--port", str(queue), "--project", PROJECT)
        declared = provision.declaration(topology.load(variables["PIPELINE_FILE"]), project=PROJECT)
        (root / "topology.json").write_text(json.dumps(declared))
        command += ("--topology", str(root / "topology.json"))
        pubsub = running.enter_context(_process(command, os.environ, f"http://{ports.HOST}:{queue}/admin/clock"))
        gcs = running.enter_context(
            _process(
                fake_gcs.command(port=storage, root=root / "objects", inner=inner),
                os.environ,
                f"{variables['STORAGE_EMULATOR_HOST']}/_internal/healthcheck",
            )
        )
        client = FakeGcs(variables["STORAGE_EMULATOR_HOST"])
        client.create_bucket(BUCKET)
        client.close()
        if relayed:
            proxy = running.enter_context(FaultProxy(variables["STORAGE_EMULATOR_HOST"], write_limits=write_limits))
            os.environ["STORAGE_EMULATOR_HOST"] = proxy.url
        built = Stack(pubsub, gcs, {**os.environ, **more})
        running.callback(built.publisher.close)
        yield built
