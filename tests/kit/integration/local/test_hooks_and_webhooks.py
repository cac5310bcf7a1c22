"""Hooks, webhooks and traces on a whole stack: API, worker, handler process and console, and a receiver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.push_endpoint import open_endpoint
from tests.kit.unit.local.console.conftest import words
from tests.kit.waiting import until

SECRET = "whsec_" + "A" * 32
PIPELINE = """
handlers = ["tests.kit.unit.webhooks.webhook_handlers"]
hooks = ["tests.kit.unit.worker.hook_samples:Noting"]
[secrets]
WEBHOOK_SECRET = "latest"
[webhooks]
secret = "WEBHOOK_SECRET"
allow_private = ["127.0.0.1"]
[queues.default]
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoints]:
    (tmp_path / "pipeline.toml").write_text(PIPELINE, encoding="utf-8")
    for name, value in {
        "PIPELINE_FILE": str(tmp_path / "pipeline.toml"),
        "WEBHOOK_SECRET": SECRET,
        "HOOK_LOG": str(tmp_path / "hooks.log"),
        "TRACES_EXPORTER": "file",
    }.items():
        monkeypatch.setenv(name, value)
    backend = Embedded(tmp_path / "state")
    endpoints = backend.up(UpOptions(api_port=ports.choose(), timeout_s=120, attached=True), lambda text: None)
    try:
        yield endpoints
    finally:
        backend.down()


def test_a_task_on_a_stack_passes_its_hooks_its_end_is_told_and_the_console_draws_its_trace(
    stack: Endpoints, tmp_path: Path
) -> None:
    with open_endpoint() as receiver:

        def submit(task_type: str) -> str:
            body: dict[str, Any] = {"task_type": task_type, "payload": {}, "webhook_url": receiver.url}
            answer = requests.post(f"{stack.api_url}/tasks", json=body, timeout=10)
            assert answer.status_code == 202, answer.text
            return str(answer.json()["task_id"])

        submitted = {task_type: submit(task_type) for task_type in ("ship", "measure", "refuse")}
        expected = {
            submitted["ship"]: "succeeded",
            submitted["measure"]: "succeeded",
            submitted["refuse"]: "failed",
        }
        until(lambda: len(receiver.requests) >= 3, timeout_s=60)
    events = [Webhook(SECRET).verify(request.body, request.headers) for request in receiver.requests]
    assert {event["data"]["task_id"]: event["data"]["status"] for event in events} == expected
    until(lambda: _noted(tmp_path).count("first after") >= 6, timeout_s=20)  # three tasks, and three deliveries
    noted = _noted(tmp_path)
    assert noted.count("first on_submit") == 6  # by the API, and by the worker for what follows
    assert noted.count("first on_death") == 1
    lines = (tmp_path / "hooks.log").read_text(encoding="utf-8").splitlines()
    pids = {line.split()[-3] for line in lines if " leave " in line}
    assert len(pids) == 2  # the worker, and the process of the cpu=True handler
    for task_type, task_id in submitted.items():
        until(partial(_is_drawn, stack, task_type, task_id), f"the spans of {task_type}", timeout_s=60)


def _is_drawn(stack: Endpoints, task_type: str, task_id: str) -> bool:
    """Whether the page of a task has its spans, and those of the webhook that follows it."""
    page = requests.get(f"{stack.console_url}/tasks/{task_id}", timeout=60).text
    names = re.findall(r'<span class="name d\d" title="[^"]*">(.*?)</span>\s*<span class="service', page)
    expected = [
        "POST /tasks",
        f"submit {task_type}",
        "publish default",
        f"process {task_type} attempt 1",
        "storage put",  # the claim
        f"run {task_type}",
        *(["pack"] if task_type == "ship" else []),  # the handler's own
        "storage put",  # the end
        "submit poolhouse.webhook",
        "publish default",
        "process poolhouse.webhook attempt 1",
        "storage put",
        "run poolhouse.webhook",
    ]
    return [words(name).removesuffix(" failed") for name in names[: len(expected)]] == expected


def _noted(tmp_path: Path) -> list[str]:
    path = tmp_path / "hooks.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [" ".join(line.split()[:2]) for line in lines]
