"""`up --reload` as its users meet it: files are saved, and real processes take each other's place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from poolhouse.commands.stack.logs import show_logs
from poolhouse.commands.stack.status import status
from poolhouse.local.backend import Endpoints, ServiceState, ServiceStatus, UpOptions
from poolhouse.local.embedded.backend import Embedded
from poolhouse.local.processes import ports
from poolhouse.local.processes.identity import ProcessId
from poolhouse.pipeline.exit_codes import OK
from tests.kit.waiting import until

TIMEOUT_S = 60
#: What users are promised, in seconds.
LIVE_S = 2.0
HANDLER = """
import time
from poolhouse import Payload, TaskContext, task

class Tell(Payload):
    wait_s: float = 0
{fields}
@task("tell")
def tell(payload: Tell, ctx: TaskContext) -> str:
    time.sleep(payload.wait_s)
    return {word!r}
"""

QUEUES = """
name = "reloaded"

[queues.default]
"""
SCHEDULE = """
[schedules.nightly]
cron = "30 3 * * *"
time_zone = "UTC"
task_type = "tell"
"""


class Stack:
    """A stack with a handler of its own, and a client of it."""

    def __init__(self, backend: Embedded, endpoints: Endpoints, handler: Path, declaration: Path) -> None:
        self.backend = backend
        self.url = endpoints.api_url
        self.handler = handler
        self.declaration = declaration

    def save(self, word: str, *, fields: str = "") -> None:
        self.handler.write_text(HANDLER.format(word=word, fields=fields))

    def submit(self, **payload: Any) -> str:
        answer = requests.post(f"{self.url}/submit-task", json={"task_type": "tell", **payload}, timeout=10)
        assert answer.ok, answer.text
        return str(answer.json()["task_id"])

    def record(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/tasks/{task_id}", timeout=10).json()
        return found

    def result(self, task_id: str) -> Any:
        until(lambda: self.record(task_id)["status"] == "succeeded", "task done")
        return requests.get(f"{self.url}/tasks/{task_id}/result", timeout=10).json()

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=10).json()

    def schedules(self) -> list[str]:
        return [schedule["name"] for schedule in self.get("/schedules")["schedules"]]

    def tells(self) -> Any:
        return self.result(self.submit())

    def instance(self, service: str) -> ServiceStatus:
        return next(entry for entry in self.backend.status() if entry.service == service)

    def idle(self) -> None:
        """Wait until the successors have done their imports: they sleep on standard input."""

        def all_wait() -> bool:
            found = _successors(self)
            return len(found) == 2 and all(_waits(process) for process in found)

        until(all_wait, "one successor of the API and one of the worker wait")


def _successors(stack: Stack) -> list[psutil.Process]:
    """Processes of API and workers that do not serve."""
    serving = {entry.pid for entry in stack.backend.status()}
    supervisor = psutil.Process(stack.instance("pubsub").pid)
    return [child for child in supervisor.children() if child.pid not in serving and _is_ours(child)]


def _is_ours(process: psutil.Process) -> bool:
    try:
        return "poolhouse.local.embedded.preload" in process.cmdline()
    except psutil.NoSuchProcess:  # it was an old process, which has ended
        return False


def _waits(process: psutil.Process) -> bool:
    try:
        before = process.cpu_times()
        time.sleep(0.2)
        return process.status() == psutil.STATUS_SLEEPING and sum(process.cpu_times()[:2]) - sum(before[:2]) < 0.02
    except psutil.NoSuchProcess:  # it was none: an old process, which has ended
        return False


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    code = tmp_path / "code"
    code.mkdir()
    handler = code / "telling.py"
    handler.write_text(HANDLER.format(word="first", fields=""))
    declaration = code / "queues.toml"
    declaration.write_text(QUEUES)
    backend = Embedded(tmp_path / "state")
    options = UpOptions(
        api_port=ports.choose(),
        timeout_s=120,
        attached=True,
        reload=True,
        environment={"TASK_HANDLERS": "telling", "PYTHONPATH": str(code), "PIPELINE_FILE": str(declaration)},
    )
    try:
        stack = Stack(backend, backend.up(options, lambda _: None), handler, declaration)
        stack.idle()
        yield stack
    finally:
        backend.down()


def test_a_saved_handler_and_its_payload_model_are_live_soon_and_no_call_fails_meanwhile(stack: Stack) -> None:
    assert stack.tells() == "first"
    started = time.monotonic()
    stack.backend.restart("worker")
    stack.backend.restart("api")
    cold_start_s = time.monotonic() - started  # tests share their machine, which may be slow
    # The words are equally long: neither the size nor a coarse time gives the second change away.
    for word in ("other", "third"):
        stack.idle()
        assert _live_after_s(stack, word) < max(LIVE_S, cold_start_s)


def test_a_task_in_hand_ends_on_the_old_code_while_new_tasks_run_on_the_new(stack: Stack) -> None:
    in_hand = stack.submit(wait_s=6)
    until(lambda: stack.record(in_hand)["status"] == "running", "the task runs")
    stack.save("later")
    until(lambda: stack.tells() == "later", "the new code runs")
    assert stack.record(in_hand)["status"] == "running"
    assert stack.result(in_hand) == "first"
    assert len(stack.record(in_hand)["attempts"]) == 1


def test_code_that_does_not_start_is_reported_and_the_old_runs_until_it_is_fixed(
    stack: Stack, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = stack.instance("worker").pid
    stack.handler.write_text("import nothing_of_that_name\n")
    until(lambda: stack.instance("worker").note is not None, "the status tells")
    until(lambda: stack.instance("api").note is not None, "the status tells")
    assert status(state_dir=tmp_path / "state") == OK
    assert "nothing_of_that_name" in capsys.readouterr().out
    show_logs("worker", state_dir=tmp_path / "state")
    assert "nothing_of_that_name" in capsys.readouterr().out
    worker = stack.instance("worker")
    assert (worker.pid, worker.state, worker.restarts) == (before, ServiceState.READY, 0)
    assert stack.tells() == "first"
    stack.handler.write_text("def broken(:\n")
    until(lambda: "telling.py:1:" in (stack.instance("worker").note or ""), "the status tells file and line")
    stack.save("mended")
    until(lambda: stack.tells() == "mended", "the mended code runs")
    assert stack.instance("worker").note is None


def test_down_does_not_wait_for_a_task_on_old_code_longer_than_for_others(stack: Stack) -> None:
    in_hand = stack.submit(wait_s=300)
    until(lambda: stack.record(in_hand)["status"] == "running", "the task runs")
    stack.save("later")
    until(lambda: stack.tells() == "later", "the new code runs")
    children = psutil.Process(stack.instance("pubsub").pid).children(recursive=True)
    processes = [ProcessId.of(child.pid) for child in children]
    started = time.monotonic()
    assert stack.backend.down()
    assert time.monotonic() - started < 20
    assert not any(process.alive() for process in processes)


def test_a_saved_declaration_counts_at_once_its_schedules_and_queues_too(stack: Stack) -> None:
    assert not stack.schedules()
    stack.declaration.write_text(QUEUES + SCHEDULE)
    until(lambda: stack.schedules() == ["nightly"], "the schedule is known")
    until(lambda: stack.instance("scheduler").state is ServiceState.READY, "it is somebody's to run")
    stack.declaration.write_text(QUEUES + "[queues.second]\n")
    until(lambda: {queue["name"] for queue in stack.get("/queues")["queues"]} == {"default", "second"}, "both queues")
    until(lambda: not [entry for entry in stack.backend.status() if entry.service == "scheduler"], "nothing to run")
    body = {"task_type": "tell", "payload": {}, "queue": "second"}
    task_id = requests.post(f"{stack.url}/tasks", json=body, timeout=10).json()["task_id"]
    assert stack.result(task_id) == "first"


def test_a_wrong_declaration_is_reported_and_the_old_runs_until_it_is_fixed(stack: Stack) -> None:
    stack.declaration.write_text(QUEUES + "[queues.")
    until(lambda: "queues.toml" in (stack.instance("api").note or ""), "the status tells")
    assert stack.tells() == "first"
    stack.declaration.write_text(QUEUES + SCHEDULE)
    until(lambda: stack.schedules() == ["nightly"], "the schedule is known")
    until(lambda: stack.instance("api").note is None, "nothing is wrong any more")


def _live_after_s(stack: Stack, word: str) -> float:
    """Save a handler that tells the word; the time until new processes serve, in seconds."""
    before = {service: stack.instance(service).pid for service in ("api", "worker")}
    stack.save(word, fields=f"    {word}: int = 0\n")
    took_s = until(lambda: _schema_has(stack, word), "the payload model is live")
    took_s += until(lambda: stack.instance("worker").pid != before["worker"], "the new worker serves")
    until(lambda: bool(stack.tells() == word), "the handler is live")
    assert stack.instance("api").pid != before["api"]
    until(lambda: _schema_has(stack, word) and not psutil.pid_exists(before["api"] or 0), "the old API has ended")
    return took_s


def _schema_has(stack: Stack, field: str) -> bool:
    return f'"{field}"' in requests.get(f"{stack.url}/openapi.json", timeout=10).text
