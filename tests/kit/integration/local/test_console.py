"""The console of an embedded stack as a process: it starts when it is opened, and goes with the stack."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from poolhouse.local import state
from poolhouse.local.backend import Endpoints, ServiceState, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.errors import StackError
from poolhouse.local.processes import ports
from poolhouse.project import ROOT
from tests.kit.waiting import until

TIMEOUT_S = 60


def quiet(text: str) -> None:
    """Takes a line for people, and shows it to nobody."""


def options(**more: int) -> UpOptions:
    return UpOptions(api_port=ports.choose(), timeout_s=120, attached=True, **more)


def invoke(state_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "invoke", *words),
        cwd=ROOT,
        env={**os.environ, "POOLHOUSE_STATE_DIR": str(state_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Embedded]:
    backend = Embedded(tmp_path)
    yield backend
    backend.down()


def url(endpoints: Endpoints) -> str:
    assert endpoints.console_url is not None
    return endpoints.console_url


def consoles(backend: Embedded) -> list[psutil.Process]:
    supervisor = psutil.Process(next(entry.pid for entry in backend.status() if entry.service == "pubsub"))
    return [child for child in supervisor.children() if "poolhouse.local.console" in child.cmdline()]


def test_it_starts_when_it_is_opened_comes_again_when_it_dies_and_goes_with_the_stack(backend: Embedded) -> None:
    endpoints = backend.up(options(console_port=ports.choose()), quiet)
    assert consoles(backend) == []
    assert "console" not in {entry.service for entry in backend.status()}
    page = requests.get(url(endpoints), timeout=TIMEOUT_S)
    assert page.status_code == 200
    assert "worker-1" in page.text

    def ready() -> bool:
        return any(entry.service == "console" and entry.state is ServiceState.READY for entry in backend.status())

    until(ready, "the status tells of it")
    [first] = consoles(backend)
    first.kill()
    assert requests.get(url(endpoints), timeout=TIMEOUT_S).status_code == 200
    until(ready, "another one runs")
    [second] = consoles(backend)
    assert second.pid != first.pid
    assert backend.down()
    assert not second.is_running()
    assert ports.is_free(int(url(endpoints).rpartition(":")[2]))


def test_it_listens_on_this_machine_alone_and_its_own_requests_are_not_in_the_apis_log(
    backend: Embedded, tmp_path: Path
) -> None:
    endpoints = backend.up(options(console_port=ports.choose()), quiet)
    for path in ("/", "/tasks", "/dead-letters", "/schedules"):
        assert requests.get(url(endpoints) + path, timeout=TIMEOUT_S).ok
    [process] = consoles(backend)
    listening = [
        connection.laddr.ip for connection in process.net_connections("inet") if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]
    requests.get(f"{endpoints.api_url}/tasks", timeout=TIMEOUT_S)
    log = tmp_path / "logs" / "api.log"
    # Told after the answer, and after all that was told of earlier ones.
    until(lambda: '"path": "/tasks"' in log.read_text(), "somebody else's look is told")
    assert log.read_text().count('"path": "/tasks"') == 1
    assert '"path": "/queues"' not in log.read_text()


def test_a_port_that_is_taken_is_reported_and_another_one_found_where_none_was_asked_for(
    backend: Embedded, tmp_path: Path
) -> None:
    taken = ports.choose()
    with ports.listen(taken):
        with pytest.raises(StackError, match=rf"port {taken} is in use.*--console-port"):
            backend.up(options(console_port=taken), quiet)
        endpoints = backend.up(options(), quiet)
        assert url(endpoints) != f"http://127.0.0.1:{taken}"
        told = invoke(tmp_path, "console")
        assert (told.returncode, told.stdout.strip()) == (0, url(endpoints))
        assert url(endpoints) in invoke(tmp_path, "status").stdout


def test_without_a_stack_there_is_none(tmp_path: Path) -> None:
    told = invoke(tmp_path, "console")
    assert told.returncode == 1
    assert "./invoke up" in told.stderr


def test_for_a_stack_without_one_it_runs_here_until_it_is_stopped(backend: Embedded, tmp_path: Path) -> None:
    endpoints = backend.up(options(), quiet)
    found = state.read(tmp_path)
    assert found is not None
    # What containers write down: a stack that has no console of its own.
    bare = {**endpoints.__dict__, "console_url": None}
    other = tmp_path / "other"
    state.write(
        other,
        state.StackState(
            backend="embedded",
            endpoints=Endpoints(**bare),
            ready=True,
            supervisor=found.supervisor,
            details=found.details,
        ),
    )
    with subprocess.Popen(
        (sys.executable, "-m", "invoke", "console", "--port", str(ports.choose())),
        cwd=ROOT,
        env={**os.environ, "POOLHOUSE_STATE_DIR": str(other), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[0]
            assert "worker-1" in requests.get(address, timeout=TIMEOUT_S).text
            state.remove(other)
            gone = requests.get(address, timeout=TIMEOUT_S)
            assert (gone.status_code, "No stack is up" in gone.text) == (503, True)
        finally:
            process.terminate()
