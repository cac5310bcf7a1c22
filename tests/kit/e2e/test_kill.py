"""A worker that dies without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolhouse.client.event_stream import FINAL
from poolhouse.local.backend import UpOptions
from poolhouse.local.e2e.client import Client
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.waiting import until

TASKS = 200
#: What a dead worker held comes back after its lease: 10 s here, and as much again for the ack deadline.
TIMEOUT_S = 90


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Embedded]:
    backend = Embedded(tmp_path)
    options = UpOptions(
        attached=True,
        api_port=ports.choose(),
        timeout_s=120,
        environment={"PIPELINE_FILE": str(Path(__file__).with_name("pipeline.toml"))},
    )
    backend.up(options, lambda _: None)
    try:
        yield backend
    finally:
        backend.down()


def test_a_killed_worker_loses_no_task_and_makes_no_result_twice(stack: Embedded) -> None:
    client = Client(stack.endpoints())
    task = {"task_type": "sample.slow", "queue": "default"}
    bodies: list[dict[str, Any]] = [
        {**task, "payload": {"duration_s": 0.5 + number / 10_000}} for number in range(TASKS)
    ]
    ids = [entry["task_id"] for entry in client.submit("/tasks:batch", {"tasks": bodies})["tasks"]]
    assert len(set(ids)) == TASKS

    until(
        lambda: client.finished(ids[TASKS // 4]), timeout_s=TIMEOUT_S
    )  # in the middle: some have ended, some run, most wait
    before = {worker.pid for worker in stack.status() if worker.service == "worker"}
    stack.restart("worker", kill=True)
    assert before.isdisjoint({worker.pid for worker in stack.status() if worker.service == "worker"})

    until(lambda: all(client.task(task_id)["status"] in FINAL for task_id in ids), timeout_s=TIMEOUT_S)
    records = [client.task(task_id) for task_id in ids]
    outcomes = [[attempt["outcome"] for attempt in record["attempts"]] for record in records]
    assert {record["status"] for record in records} == {"succeeded"}, "no task is lost"
    assert all(made.count("succeeded") == 1 for made in outcomes), "no result is made twice"
    assert sum("lost" in made for made in outcomes) > 0, "the kill fell into the middle of some task"
    for record, body in zip(records, bodies, strict=True):
        last = record["attempts"][-1]
        assert record["result"] == {"value": body["payload"]["duration_s"], "attempt": last["number"]}
    assert list(client.dead_letters()) == []
    until(lambda: not any(queue["backlog"] for queue in client.queues()), timeout_s=TIMEOUT_S)
    client.close()
