"""`python -m poolhouse.api` in a process of its own, over the emulators."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from poolhouse.pipeline.config.settings import Settings
from tests.kit.waiting import until

ROOT = Path(__file__).parents[4]
START_S = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ApiProcess:
    """A running service."""

    process: subprocess.Popen[str]
    url: str
    log: list[str]

    def stop(self, *, timeout_s: float = 9) -> int:
        """Send SIGTERM; the exit code. Cloud Run kills after 10 seconds."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


Start = Callable[..., ApiProcess]


@pytest.fixture
def start_api(poolhouse_environment: Mapping[str, str], poolhouse_settings: Settings) -> Iterator[Start]:
    """Starts services; what a test leaves running is ended."""
    running: list[subprocess.Popen[str]] = []

    def start(*, ready: bool = True, **environment: str) -> ApiProcess:
        process = subprocess.Popen(
            [sys.executable, "-m", "poolhouse.api", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, **poolhouse_environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        log: list[str] = []
        listens = threading.Event()

        def read() -> None:
            assert process.stdout is not None
            with process.stdout as lines:
                for line in lines:
                    log.append(line)
                    if '"url": "' in line:
                        listens.set()
            listens.set()

        threading.Thread(target=read, daemon=True).start()
        assert listens.wait(START_S), "".join(log)
        addresses = [line.partition('"url": "')[2].partition('"')[0] for line in log if '"url": "' in line]
        assert addresses, "".join(log)
        api = ApiProcess(process, addresses[0], log)
        wait_for(lambda: requests.get(f"{api.url}/ready" if ready else f"{api.url}/health", timeout=10).ok)
        return api

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(condition: Callable[[], bool], *, timeout_s: float = START_S) -> None:
    """Wait until a condition holds; while a connection is refused it does not."""

    def holds() -> bool:
        try:
            return condition()
        except requests.ConnectionError:
            return False

    until(holds, "the API's answer", timeout_s=timeout_s)
