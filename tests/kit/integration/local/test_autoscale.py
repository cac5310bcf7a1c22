"""`up --autoscale` as its users meet it: workers come with the backlog, and go with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from poolhouse.commands.exit_code import exit_code
from poolhouse.commands.stack.lifecycle import up
from poolhouse.commands.stack.status import status
from poolhouse.local.backend import Endpoints, QueueScale, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.errors import StackError
from poolhouse.local.processes import ports
from poolhouse.pipeline.exit_codes import USAGE

PIPELINE = """
[queues.batch.workers]
concurrency = 1
max_instances = 3
target_backlog = 2

[queues.urgent.workers]
min_instances = 1
max_instances = 2
"""
TIMEOUT_S = 60


pytestmark = pytest.mark.xdist_group("autoscale")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("autoscale")


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[Embedded]:
    (folder / "pipeline.toml").write_text(PIPELINE)
    backend = Embedded(folder)
    options = UpOptions(
        api_port=ports.choose(),
        timeout_s=120,
        attached=True,
        autoscale=True,
        scale_down_after_s=1,
        environment={"PIPELINE_FILE": str(folder / "pipeline.toml")},
    )
    backend.up(options, lambda line: None)
    yield backend
    backend.down()


def until(backend: Embedded, condition: Callable[[QueueScale], bool], queue: str = "batch") -> QueueScale:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        (found,) = (entry for entry in backend.scaling() if entry.queue == queue)
        if condition(found):
            return found
        assert time.monotonic() < deadline, f"not in time: {found}"
        time.sleep(0.05)


def submit(endpoints: Endpoints, duration_s: float) -> str:
    body = {"task_type": "sample.slow", "queue": "batch", "payload": {"duration_s": duration_s}}
    answer = requests.post(f"{endpoints.api_url}/tasks", json=body, timeout=30)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def record(endpoints: Endpoints, task_id: str) -> Any:
    return requests.get(f"{endpoints.api_url}/tasks/{task_id}", timeout=30).json()


def workers(backend: Embedded) -> set[str]:
    return {entry.instance for entry in backend.status() if entry.service == "worker"}


def test_workers_come_with_the_backlog_and_go_with_it_and_no_task_is_tried_twice(
    backend: Embedded, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoints = backend.endpoints()
    assert workers(backend) == {"worker-urgent-1", "dead-letters-1"}
    ids = [submit(endpoints, 2) for _ in range(8)]
    most = until(backend, lambda seen: seen.running == 3)
    assert most.wanted == 3
    assert workers(backend) >= {"worker-batch-1", "worker-batch-2", "worker-batch-3"}
    status(state_dir=folder)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["queue", "backlog", "workers", "wanted", "least-most"] in rows
    assert ["urgent", "0", "1", "1", "1-2"] in rows
    assert [row[2:] for row in rows if row[:1] == ["batch"]][-1] == ["3", "3", "0-3"]
    # Those let go while they work end their task first.
    until(backend, lambda seen: seen.running == seen.wanted == 0 and seen.backlog == 0)
    records = [record(endpoints, task_id) for task_id in ids]
    assert [(entry["status"], len(entry["attempts"])) for entry in records] == [("succeeded", 1)] * 8
    assert workers(backend) == {"worker-urgent-1", "dead-letters-1"}


def test_a_task_that_finds_no_worker_brings_one(backend: Embedded) -> None:
    endpoints = backend.endpoints()
    until(backend, lambda seen: seen.running == 0)
    task_id = submit(endpoints, 0)
    until(backend, lambda seen: record(endpoints, task_id)["status"] == "succeeded")


def test_a_number_by_hand_is_refused(backend: Embedded) -> None:
    with pytest.raises(StackError, match="follow the backlog"):
        backend.scale("worker", 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (UpOptions(autoscale=True, workers=3), "--workers can't be combined with --autoscale"),
        (UpOptions(scale_down_after_s=5), "is for --autoscale"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: UpOptions, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(up, options=options, state_dir=tmp_path) == USAGE
    assert words in capsys.readouterr().err
