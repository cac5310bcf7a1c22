"""The processes of a round: servers that can fail, an API and workers that can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import requests

from poolhouse.client import loopback
from poolhouse.local import provision
from poolhouse.local.chaos.journal import Journal
from poolhouse.local.chaos.plan import Blow, Spell
from poolhouse.local.chaos.receiver import Receiver, receiving
from poolhouse.local.errors import StackError
from poolhouse.local.processes import environment, parent_death, ports
from poolhouse.local.storage import proxy as storage_proxy
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.local.storage.proxy import FaultProxy, WriteLimits
from poolhouse.pipeline.config.topology import Topology, load
from poolhouse.project import ROOT
from poolhouse.testing.servers import storage_server
from poolhouse_pubsub.control import faults as pubsub_faults
from poolhouse_pubsub.server import EmulatorServer

PROJECT, BUCKET = "chaos-project", "chaos-bucket"
PIPELINE_FILE = Path(__file__).with_name("pipeline.toml")
#: What signs the webhooks of a round; the receiver takes them all.
WEBHOOK_SECRET = "whsec_" + "c" * 32
#: Time that a worker has for its tasks at SIGTERM, in seconds.
WORKER_GRACE_S = 3
#: Time in which the API has to end at SIGTERM, in seconds: its 8 for the calls in hand, and room for a busy machine.
API_STOP_S = 15.0
_START_TIMEOUT_S = 60.0


class Stack:
    """What runs, and what can be done to it."""

    def __init__(
        self,
        *,
        pubsub: EmulatorServer,
        proxy: FaultProxy,
        storage: FakeGcs,
        journal: Journal,
        receiver: Receiver,
        directory: Path,
    ) -> None:
        self.pubsub = pubsub
        self.proxy = proxy
        self.storage = storage
        self.journal = journal
        self.receiver = receiver
        self.topology: Topology = load(str(PIPELINE_FILE))
        self.directory = directory
        self.api_port = ports.choose()
        self.starts = 0
        self.deploys = 0
        self._children: dict[tuple[str, int], subprocess.Popen[bytes]] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        self._faults: list[tuple[str, pubsub_faults.Fault | storage_proxy.Fault]] = []

    @property
    def api_url(self) -> str:
        """Where the API is, when it is."""
        return f"http://{ports.HOST}:{self.api_port}"

    def start(self, *, workers: int) -> None:
        """Start the API and the workers; returns when the API is ready. Raises `StackError`."""
        for index in range(workers):
            self._start("worker", index)
        self._start("api", 0)
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._api_ready():
            if time.monotonic() > deadline_s:
                raise StackError(f"the API did not start: see {self.directory}")
            time.sleep(0.05)

    def strike(self, blow: Blow) -> list[str]:
        """Do it. What was killed or stopped is started again at once. Returns what did not end as it should."""
        problems: list[str] = []
        if blow.target == "pubsub":
            self.pubsub.faults.restart()
            return problems
        if blow.way == "deploy":
            return self._deploy(blow)
        child = self._children[blow.target, blow.index]
        if blow.way == "kill":
            child.kill()
            child.wait()
        else:
            child.send_signal(signal.SIGTERM)
            if blow.target == "api":  # its successor wants the port
                try:
                    child.wait(API_STOP_S)
                except subprocess.TimeoutExpired:
                    problems.append(f"the API did not end within {API_STOP_S:g} s of SIGTERM")
                    child.kill()
                    child.wait()
            else:
                self._ending.append(child)
        self._start(blow.target, blow.index)
        return problems

    def _deploy(self, blow: Blow) -> list[str]:
        """Replace API and workers as a deploy does: a worker's successor runs already when the worker gets SIGTERM."""
        self.deploys += 1
        for (name, index), child in list(self._children.items()):
            if name == "worker":
                self._start(name, index)
                child.send_signal(signal.SIGTERM)
                self._ending.append(child)
        return self.strike(replace(blow, target="api", way="stop"))

    def begin(self, spell: Spell) -> Callable[[], None]:
        """Let a server fail as the spell says; returns what ends that."""
        if spell.server == "pubsub":
            fault = self.pubsub.faults.add(spell.kind, **spell.options)
            self._faults.append((f"pubsub {spell.kind}", fault))
            return lambda: self.pubsub.faults.remove(fault)
        storage_fault = self.proxy.faults.add(spell.kind, **spell.options)  # type: ignore[arg-type]
        self._faults.append((f"storage {spell.kind}", storage_fault))
        return lambda: self.proxy.faults.remove(storage_fault)

    def struck_by(self, server: str) -> int:
        """How often faults of `pubsub` or `storage` have struck so far."""
        return sum(count for name, count in self.struck().items() if name.partition(" ")[0] == server)

    def struck(self) -> dict[str, int]:
        """How often each kind of fault has struck so far."""
        counts: Counter[str] = Counter()
        for name, fault in self._faults:
            counts[name] += fault.happened
        return dict(counts)

    def ensure_running(self) -> list[str]:
        """Start what has ended by itself; returns what that was: nothing should."""
        ended = []
        for (name, index), child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                ended.append(f"{name} {index} ended by itself with exit code {code}: see {self._log(name, index)}")
                self._start(name, index)
        return ended

    def unfinished(self) -> dict[str, int]:
        """How many messages each subscription still has, those without any left out."""
        subscriptions = (
            name
            for queue in self.topology.queues
            for name in (*(tier.subscription for tier in queue.tiers), queue.dead_letter_subscription)
        )
        views = {
            name: self.pubsub.inspect(f"projects/{PROJECT}/subscriptions/{name}", messages=0) for name in subscriptions
        }
        return {name: view.unacked for name, view in views.items() if view.unacked}

    def stop(self) -> None:
        """End all."""
        for child in (*self._children.values(), *self._ending):
            child.kill()
            child.wait()

    def _start(self, name: str, index: int) -> None:
        command = {
            "api": ("poolhouse.api", "--port", str(self.api_port)),
            "worker": ("poolhouse.worker", "run", "--dead-letters"),
        }[name]
        with self._log(name, index).open("ab") as log:
            self._children[name, index] = self._spawn(command, log)
        self.starts += 1

    def _spawn(self, command: tuple[str, ...], log: IO[bytes]) -> subprocess.Popen[bytes]:
        guarded = (sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()))
        return subprocess.Popen(
            (*guarded, sys.executable, "-m", *command),
            cwd=ROOT,
            env={**environment.child(), **self._environment()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _environment(self) -> Mapping[str, str]:
        return {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "BUCKET_NAME": BUCKET,
            "PIPELINE_FILE": str(PIPELINE_FILE),
            "TASK_HANDLERS": "poolhouse.local.chaos.handlers",
            "PUBSUB_EMULATOR_HOST": self.pubsub.address,
            "STORAGE_EMULATOR_HOST": self.proxy.url,
            "WORKER_GRACE_S": str(WORKER_GRACE_S),
            "BACKLOG_SOURCE": "none",
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    def _log(self, name: str, index: int) -> Path:
        return self.directory / f"{name}-{index}.log"

    def _api_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException), loopback.session() as session:
            return session.get(f"{self.api_url}/health", timeout=2).ok
        return False


@contextmanager
def running(*, seed: int, workers: int, directory: Path, gcs_limits: bool = False) -> Iterator[Stack]:
    """A whole stack; its logs are in `directory`. Raises `StackError` where it does not start."""
    journal = Journal()
    limits = WriteLimits(on_refused=journal.see_refused) if gcs_limits else None
    declared = provision.declaration(load(PIPELINE_FILE), project=PROJECT)
    with ExitStack() as stack:
        pubsub = stack.enter_context(EmulatorServer(topology=declared, seed=seed))
        storage_url = stack.enter_context(storage_server())
        proxy = stack.enter_context(FaultProxy(storage_url, seed=seed, on_exchange=journal.see, write_limits=limits))
        storage = FakeGcs(storage_url)
        stack.callback(storage.close)
        storage.create_bucket(BUCKET)
        receiver = stack.enter_context(receiving())
        built = Stack(
            pubsub=pubsub, proxy=proxy, storage=storage, journal=journal, receiver=receiver, directory=directory
        )
        stack.callback(built.stop)
        built.start(workers=workers)
        yield built
