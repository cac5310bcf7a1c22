"""`up --keep`: what a stack was asked to do and has done is there in the next one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import requests

from poolhouse.commands import stack
from poolhouse.local import state
from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.embedded.data_dir import Kept
from poolhouse.local.processes import ports
from poolhouse.pipeline.errors import ConfigError
from tests.kit.waiting import until

TIMEOUT_S = 60


def up(state_dir: Path, *, keep: bool = True, workers: int = 1) -> tuple[Embedded, Endpoints]:
    backend = Embedded(state_dir)
    options = UpOptions(api_port=ports.choose(), timeout_s=120, attached=True, keep=keep, workers=workers)
    return backend, backend.up(options, lambda _: None)


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


@pytest.mark.parametrize("ending", ["down", "kill -9"])
def test_queued_tasks_and_results_outlive_the_stack_and_volumes_deletes_them(tmp_path: Path, ending: str) -> None:
    backend, first = up(tmp_path)
    try:
        done = submit(first, "done before")
        assert value_of(first, done) == "done before"
        backend.scale("worker", 0)
        waiting = [submit(first, number) for number in range(5)]
        found = state.read_live(tmp_path)
        assert found is not None
        assert found.supervisor is not None
        if ending == "kill -9":
            found.supervisor.signal(signal.SIGKILL)
            assert found.supervisor.wait(TIMEOUT_S)
    finally:
        backend.down()
    backend, second = up(tmp_path)
    try:
        assert (second.project, second.bucket) == (first.project, first.bucket)
        assert [value_of(second, task_id) for task_id in waiting] == list(range(5))
        assert value_of(second, done) == "done before"
        assert len(requests.get(f"{second.api_url}/tasks/{done}", timeout=10).json()["attempts"]) == 1
    finally:
        backend.down(volumes=True)
    assert not Kept.of(tmp_path).root.exists()
    backend, third = up(tmp_path)
    try:
        assert third.bucket != first.bucket
        assert requests.get(f"{third.api_url}/tasks/{done}", timeout=10).status_code == requests.codes.not_found
    finally:
        backend.down()


def test_volumes_deletes_what_is_kept_when_no_stack_is_up(tmp_path: Path) -> None:
    name = Kept.of(tmp_path).name()
    assert Kept.of(tmp_path).name() == name
    assert stack.down(state_dir=tmp_path) == stack.OK
    assert Kept.of(tmp_path).name() == name
    assert stack.down(volumes=True, state_dir=tmp_path) == stack.OK
    assert not Kept.of(tmp_path).root.exists()


def test_containers_neither_keep_nor_reload_nor_follow_the_backlog(tmp_path: Path) -> None:
    for options in (UpOptions(keep=True), UpOptions(reload=True), UpOptions(autoscale=True)):
        with pytest.raises(ConfigError, match="embedded"):
            stack.up(backend="compose", options=options, state_dir=tmp_path)
