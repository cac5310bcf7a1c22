"""`up --keep`: what a stack was asked to do and has done is there in the next one."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from poolhouse.commands.stack import lifecycle
from poolhouse.local import state
from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.embedded.data_dir import Kept
from poolhouse.local.processes import ports
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from tests.kit.waiting import until

TIMEOUT_S = 60


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Embedded]:
    backend = Embedded(tmp_path)
    yield backend
    backend.down()


def up(backend: Embedded) -> Endpoints:
    return backend.up(UpOptions(api_port=ports.choose(), timeout_s=120, attached=True, keep=True), lambda _: None)


def submit(endpoints: Endpoints, value: Any) -> str:
    body = {"task_type": "sample.echo", "value": value}
    answer = requests.post(f"{endpoints.api_url}/submit-task", json=body, timeout=10)
    assert answer.ok, answer.text
    return str(answer.json()["task_id"])


def status_of(endpoints: Endpoints, task_id: str) -> str:
    return str(requests.get(f"{endpoints.api_url}/tasks/{task_id}", timeout=10).json()["status"])


def value_of(endpoints: Endpoints, task_id: str) -> Any:
    until(lambda: status_of(endpoints, task_id) == "succeeded", f"task {task_id} done")
    return requests.get(f"{endpoints.api_url}/tasks/{task_id}/result", timeout=10).json()["value"]


def hours_ahead(endpoints: Endpoints, *, advance: int = 0) -> int:
    """How far the stack's clock is from that of the machine, after it was moved."""
    clock = f"http://{endpoints.pubsub_host}/admin/clock"
    if advance:
        requests.post(f"{clock}/advance", json={"seconds": 3600 * advance}, timeout=10).raise_for_status()
    return round((requests.get(clock, timeout=10).json()["now"] - time.time()) / 3600)


def kill(state_dir: Path) -> None:
    found = state.read_live(state_dir)
    assert found is not None
    assert found.supervisor is not None
    found.supervisor.signal(signal.SIGKILL)
    assert found.supervisor.wait(TIMEOUT_S)


def test_queued_tasks_results_and_the_clock_outlive_the_stack_and_volumes_deletes_them(
    backend: Embedded, tmp_path: Path
) -> None:
    endpoints = up(backend)
    first = (endpoints.project, endpoints.bucket)
    for hours, ending in enumerate(("down", "kill -9"), 1):
        assert hours_ahead(endpoints, advance=1) == hours
        done = submit(endpoints, f"done before {ending}")
        assert value_of(endpoints, done) == f"done before {ending}"
        backend.scale("worker", 0)
        waiting = [submit(endpoints, number) for number in range(5)]
        if ending == "kill -9":
            kill(tmp_path)
        backend.down()
        endpoints = up(backend)
        assert (endpoints.project, endpoints.bucket) == first
        assert hours_ahead(endpoints) == hours
        assert [value_of(endpoints, task_id) for task_id in waiting] == list(range(5))
        assert value_of(endpoints, done) == f"done before {ending}"
        assert len(requests.get(f"{endpoints.api_url}/tasks/{done}", timeout=10).json()["attempts"]) == 1
    assert backend.down(volumes=True)
    assert not Kept.of(tmp_path).root.exists()
    endpoints = up(backend)
    assert endpoints.bucket != first[1]
    assert hours_ahead(endpoints) == 0
    assert requests.get(f"{endpoints.api_url}/tasks/{done}", timeout=10).status_code == requests.codes.not_found


def test_volumes_deletes_what_is_kept_when_no_stack_is_up(tmp_path: Path) -> None:
    name = Kept.of(tmp_path).name()
    assert Kept.of(tmp_path).name() == name
    assert lifecycle.down(state_dir=tmp_path) == OK
    assert Kept.of(tmp_path).name() == name
    assert lifecycle.down(volumes=True, state_dir=tmp_path) == OK
    assert not Kept.of(tmp_path).root.exists()


def test_containers_neither_keep_nor_reload_nor_follow_the_backlog(tmp_path: Path) -> None:
    for options in (UpOptions(keep=True), UpOptions(reload=True), UpOptions(autoscale=True)):
        with pytest.raises(ConfigError, match="embedded"):
            lifecycle.up(backend="compose", options=options, state_dir=tmp_path)
