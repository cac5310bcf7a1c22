"""A laptop that sleeps: all processes stand still, and the clock has moved on when they go on."""

from __future__ import annotations

import signal
import time

import psutil
import pytest
import requests

from tests.kit.environments.checkout import Checkout
from tests.kit.waiting import until

#: How long it sleeps, in seconds; a lease that a worker holds meanwhile is moved to its end by the emulator's clock.
SLEEP_S = 12.0
LEASE_S = 700.0


@pytest.fixture
def awake(plain: Checkout) -> Checkout:
    done = plain.run("./invoke up --backend embedded --timeout 90")
    assert done.code == 0, done.output
    return plain


def test_tasks_in_hand_are_done_once_and_the_stack_works_on(awake: Checkout) -> None:
    try:
        api, pubsub = (awake.state()["endpoints"][name] for name in ("api_url", "pubsub_host"))
        body = {"task_type": "sample.slow", "payload": {"duration_s": 3}}
        ids = [requests.post(f"{api}/tasks", json=body, timeout=10).json()["task_id"] for _ in range(4)]

        def record(task_id: str) -> dict[str, object]:
            found: dict[str, object] = requests.get(f"{api}/tasks/{task_id}", timeout=30).json()
            return found

        until(lambda: record(ids[0])["status"] == "running", "a task runs")
        supervisor = psutil.Process(awake.state()["supervisor"]["pid"])
        everything = [supervisor, *supervisor.children(recursive=True)]
        for process in everything:
            process.send_signal(signal.SIGSTOP)
        time.sleep(SLEEP_S)  # the sleep itself is what is tested
        for process in everything:
            process.send_signal(signal.SIGCONT)
        answer = requests.post(f"http://{pubsub}/admin/clock/advance", json={"seconds": LEASE_S}, timeout=30)
        assert answer.ok, answer.text
        for task_id in ids:
            until(lambda: record(task_id)["status"] == "succeeded", f"{task_id} done", timeout_s=90)  # noqa: B023
            outcomes = [attempt["outcome"] for attempt in record(task_id)["attempts"]]  # type: ignore[union-attr,attr-defined]
            assert outcomes.count("succeeded") == 1, outcomes
        for command in ("./invoke status", "./invoke e2e --quick"):
            done = awake.run(command)
            assert done.code == 0, done.output
    finally:
        done = awake.run("./invoke down")
    assert "stopped" in done.output
