"""Hooks and webhooks on a whole stack: API, worker and handler process with hooks of their own, and a receiver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from standardwebhooks import Webhook

from poolhouse.local.backend import UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from tests.kit.push_endpoint import open_endpoint
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
def api_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "pipeline.toml").write_text(PIPELINE, encoding="utf-8")
    for name, value in {
        "PIPELINE_FILE": str(tmp_path / "pipeline.toml"),
        "WEBHOOK_SECRET": SECRET,
        "HOOK_LOG": str(tmp_path / "hooks.log"),
    }.items():
        monkeypatch.setenv(name, value)
    backend = Embedded(tmp_path / "state")
    endpoints = backend.up(UpOptions(api_port=ports.choose(), timeout_s=120, attached=True), lambda text: None)
    try:
        yield endpoints.api_url
    finally:
        backend.down()


def test_a_task_on_a_stack_passes_its_hooks_and_its_end_is_told(api_url: str, tmp_path: Path) -> None:
    with open_endpoint() as receiver:

        def submit(task_type: str) -> str:
            body: dict[str, Any] = {"task_type": task_type, "payload": {}, "webhook_url": receiver.url}
            answer = requests.post(f"{api_url}/tasks", json=body, timeout=10)
            assert answer.status_code == 202, answer.text
            return str(answer.json()["task_id"])

        expected = {submit("ship"): "succeeded", submit("measure"): "succeeded", submit("refuse"): "failed"}
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


def _noted(tmp_path: Path) -> list[str]:
    path = tmp_path / "hooks.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [" ".join(line.split()[:2]) for line in lines]
