"""Hooks, webhooks, traces and secrets on a whole stack: API, worker, handler process and console, and a receiver."""

from __future__ import annotations

import base64
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
#: Of several lines, as keys are, and with characters that JSON, Python and URLs write in another way.
PLANTED = "-----BEGIN A PLANTED KEY-----\nMIIE/vQI'BADA+NB\"gkq\n-----END A PLANTED KEY-----"
PIPELINE = """
handlers = ["tests.kit.unit.webhooks.webhook_handlers", "tests.kit.integration.local.leaky_handlers"]
hooks = ["tests.kit.unit.worker.hook_samples:Noting"]
[secrets]
WEBHOOK_SECRET = "latest"
PLANTED = "latest"
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
        "PLANTED": PLANTED,
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


def test_tasks_on_a_stack_pass_their_hooks_their_ends_are_told_their_traces_drawn_and_secrets_stay_inside(
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
    _secret_stays_inside(stack, tmp_path / "state")


def _secret_stays_inside(stack: Endpoints, state_dir: Path) -> None:
    """Let handlers of all kinds log, report and raise a secret's value, and search all that can be seen of them."""
    submitted: list[str] = []
    with open_endpoint() as receiver:
        for task_type in ("leak", "leak_async", "leak_in_process"):
            for by in ("error", "reject", "retry"):
                body = {"task_type": task_type, "payload": {"by": by}, "webhook_url": receiver.url}
                answer = requests.post(f"{stack.api_url}/tasks", json=body, timeout=10)
                assert answer.status_code == 202, answer.text
                submitted.append(answer.json()["task_id"])
        until(lambda: len(receiver.requests) >= len(submitted), "the webhooks")
        seen = {"webhooks": b"\n".join(request.body for request in receiver.requests).decode()}

    def get(address: str) -> str:
        answer = requests.get(address, timeout=60)
        return answer.text if answer.ok else ""

    for task_id in submitted:
        letter, page = f"{stack.api_url}/dead-letters/{task_id}", f"{stack.console_url}/tasks/{task_id}"
        until(partial(get, letter), letter)
        until(partial(_has_spans, page), f"the spans on {page}")
        seen |= {address: get(address) for address in (f"{stack.api_url}/tasks/{task_id}", letter, page)}
    for kind in ("log", "jsonl"):  # of services, and of spans
        seen[kind] = "".join(path.read_text("utf-8", "replace") for path in state_dir.rglob(f"*.{kind}"))
    assert [name for name, text in seen.items() if "[secret PLANTED]" not in text] == []
    pieces = ("A PLANTED KEY", "MIIE/vQI", "MIIE%2FvQI", base64.b64encode(PLANTED.encode()).decode()[:40])
    assert [name for name, text in seen.items() if any(piece in text for piece in pieces)] == []
    for said in ("logged [secret PLANTED]", "GET /?token=[secret PLANTED]", "Authorization: [secret PLANTED]"):
        assert seen["log"].count(said) >= len(submitted)


def _has_spans(page: str) -> bool:
    return "run leak" in requests.get(page, timeout=60).text


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
