"""What handlers do to their process ends in one right state, and costs nobody else anything. Real worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.kinds import worker_pools
from poolhouse.cloud.options import Options
from poolhouse.local.processes import ports
from poolhouse.pipeline.config.topology import parse
from poolhouse.pipeline.tasks.records import Outcome, Status, TaskRecord
from poolhouse.pipeline.tasks.transitions import cancel_requested
from tests.kit.integration.worker.test_worker import Pipeline
from tests.kit.integration.worker.test_worker import pipeline as pipeline  # noqa: PLC0414 - a fixture

#: Of this test process alone: other runs on the machine have tools of their own.
MARK_S = str(100_000 + os.getpid())
ENVIRONMENT = {"TASK_HANDLERS": "tests.kit.integration.worker.rough_handlers", "ROUGH_MARK_S": MARK_S}


@pytest.fixture
def worker(pipeline: Pipeline) -> Iterator[psutil.Process]:
    """A running worker with the rough handlers; nothing of it may be left in the end."""
    process = pipeline.worker("run", **ENVIRONMENT)
    yield psutil.Process(process.pid)
    below = psutil.Process(process.pid).children(recursive=True)
    pipeline.stop(process)
    _, alive = psutil.wait_procs(below, timeout=5)
    assert not alive, alive


def lines(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [json.loads(line) for line in pipeline.log.read_text().splitlines() if line.startswith("{")]


def cancel(pipeline: Pipeline, task_id: str) -> None:
    stored = pipeline.records.read(task_id)
    assert stored is not None
    pipeline.records.write(cancel_requested(stored.record, now=datetime.now(UTC)), if_generation=stored.generation)


def tools() -> list[psutil.Process]:
    """Tools of these handlers that still run."""
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", MARK_S]]


def no_tools(pipeline: Pipeline) -> None:
    pipeline.until(lambda: not tools(), 10)


def error_of(record: TaskRecord) -> tuple[str, str]:
    error = record.attempts[-1].error
    assert error is not None
    return error.type, error.message


#: By deed: the result, or type and message of the error.
EVERYWHERE: dict[str, Any] = {
    "exit": ("SystemExit", "3"),
    "keyboard_interrupt": ("KeyboardInterrupt", "from the handler"),
    "generator_exit": ("GeneratorExit", "from the handler"),
    "cancelled_error": ("CancelledError", "from the handler"),
    "stop_iteration": ("StopIteration", "from the handler"),
    "own_cancel": ("TaskCancelled", "nobody said so"),
    "own_stop": ("WorkerStopping", "nobody said so"),
    "arguments": ("_Arguments", "1 and 2"),
    "unpicklable": ("_Unpicklable", "odd"),
    "unreadable": ("_Unreadable", "(its text can't be read: __str__ raised RuntimeError)"),
    "group": ("Reject", "from a group"),
    "recursion": ("RecursionError", "maximum recursion depth exceeded"),
    "memory": ("MemoryError", "too much"),
    "asyncio_run": "from a loop of its own",
    "pool_fork": [0, 1, 4, 9],
    "pool_spawn": [0, 1, 4, 9],
    "pool_forkserver": [0, 1, 4, 9],
    "executor": [0, 1, 4, 9],
    "fork_and_return": "the child ended with 0",
    "fork_and_raise": "the child ended with 1",
    "surrogates": "printed",
    "huge_output": "printed",
    "input": ("EOFError", "EOF when reading a line"),
    "thread_left": "left",
    "fine": "fine",
}
IN_THREAD = {
    **EVERYWHERE,
    "alarm": "after the alarm",
    "os_exit": ("SystemExit", "7"),
    "signal_in_thread": ("ValueError", "signal only works in main thread of the main interpreter"),
}
IN_PROCESS = {
    **EVERYWHERE,
    "os_exit": ("HandlerDied", "the handler's process ended with exit code 7"),
    "signal_in_thread": None,
    "alarm": ("HandlerDied", "the handler's process was ended by SIGALRM"),
    "close": "closed",
    "change": "changed",
}
IN_LOOP = {
    name: expected
    for name, expected in IN_THREAD.items()
    if name not in {"exit", "keyboard_interrupt", "stop_iteration", "os_exit", "cancelled_error"}
} | {
    "exit": ("RuntimeError", "the handler raised SystemExit: 3"),
    "keyboard_interrupt": ("RuntimeError", "the handler raised KeyboardInterrupt: from the handler"),
    "os_exit": ("RuntimeError", "the handler raised SystemExit: 7"),
    "asyncio_run": ("RuntimeError", "asyncio.run() cannot be called from a running event loop"),
}


@pytest.mark.parametrize(
    ("task_type", "expected"), [("in_thread", IN_THREAD), ("in_process", IN_PROCESS), ("in_loop", IN_LOOP)]
)
def test_whatever_a_handler_raises_or_calls_ends_in_one_state_with_the_true_reason(
    pipeline: Pipeline, worker: psutil.Process, task_type: str, expected: dict[str, Any]
) -> None:
    neighbour = pipeline.submit("sleepy", queue="default")
    pipeline.running(neighbour)
    ids = {name: pipeline.submit(task_type, name=name) for name in expected}
    found: dict[str, Any] = {}
    for name, task_id in ids.items():
        record = pipeline.ended(task_id)
        assert len(record.attempts) == 1, (name, record)
        found[name] = record.result if record.status is Status.SUCCEEDED else error_of(record)
    if task_type == "in_process":
        assert str(found.pop("signal_in_thread")).startswith("<function")
        expected = {name: value for name, value in expected.items() if name != "signal_in_thread"}
    assert found == expected
    record = pipeline.ended(neighbour)
    assert (record.status, record.result) == (Status.SUCCEEDED, 1)
    assert worker.is_running()
    assert [line["message"] for line in lines(pipeline)].count("worker ready") == 1
    assert not any(line["message"] == "worker stopping" for line in lines(pipeline))


def test_a_worker_that_is_stuck_ends_itself_and_the_next_one_goes_on(pipeline: Pipeline) -> None:
    port = str(ports.choose())
    stuck = pipeline.worker("run", WORKER_WATCHDOG_S="1", WORKER_HEALTH_PORT=port, **ENVIRONMENT)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
        assert json.load(answer)["live"]
    assert pipeline.ended(pipeline.submit("end_streams")).result == len(pipeline.settings.topology.queues)
    waiting = pipeline.submit("in_thread", name="where")
    assert stuck.wait(120) == 1
    assert "worker: the worker is stuck: nothing is pulled from " in pipeline.log.read_text()
    pipeline.worker("run", **ENVIRONMENT)
    assert pipeline.ended(waiting).status is Status.SUCCEEDED


def passes(probe: dict[str, Any], *, timeout_s: float) -> bool:
    """Whether a probe of Cloud Run passes: any answer of 200 to 399 does."""
    where = probe["httpGet"]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{where['port']}{where['path']}", timeout=timeout_s):
            return True
    except OSError:
        return False


def test_a_worker_that_can_not_look_at_itself_is_replaced_by_the_probes_of_its_pool(pipeline: Pipeline) -> None:
    port = str(ports.choose())
    text = f'[queues.default.env]\nWORKER_HEALTH_PORT = "{port}"\nWORKER_HEALTH_HOST = "127.0.0.1"'
    declared, options = parse(text), Options(project="some-project", name="shop")
    pool = worker_pools.pool(
        declared.queues[0], topology=declared, image="image", options=options, tracks=ReleaseTracks()
    )
    ((body,),) = (command.files.values() for command in pool.create)
    (container,) = json.loads(body)["spec"]["template"]["spec"]["containers"]
    own = {item["name"]: item["value"] for item in container["env"] if item["name"].startswith("WORKER_")}
    instance = pipeline.worker("run", **own, **ENVIRONMENT)
    pipeline.until(lambda: passes(container["startupProbe"], timeout_s=10), 60)
    assert passes(container["livenessProbe"], timeout_s=30)
    instance.send_signal(signal.SIGSTOP)  # an interpreter that stands still as a whole, its watchdog too
    asked = range(container["livenessProbe"]["failureThreshold"])
    assert not any(passes(container["livenessProbe"], timeout_s=0.2) for _ in asked)
    instance.kill()
    instance.wait(30)
    waiting = pipeline.submit("in_thread", name="where")
    pipeline.worker("run", **own, **ENVIRONMENT)
    assert pipeline.ended(waiting).status is Status.SUCCEEDED


def test_what_a_handler_changes_in_its_process_is_put_back_for_the_next(
    pipeline: Pipeline, worker: psutil.Process
) -> None:
    before = pipeline.ended(pipeline.submit("in_process", name="where")).result
    limits = pipeline.ended(pipeline.submit("in_process", name="limits")).result
    for name in ("change", "close", "limit"):
        assert pipeline.ended(pipeline.submit("in_process", name=name)).status is Status.SUCCEEDED
        assert pipeline.ended(pipeline.submit("in_process", name="where")).result == before
        assert pipeline.ended(pipeline.submit("in_process", name="limits")).result == limits
    for task_type in ("in_thread", "in_process", "in_loop"):
        for _ in range(5):  # more than the worker has threads
            assert pipeline.ended(pipeline.submit(task_type, name="context")).result == [28, {}]
    assert before[3] == sys.getrecursionlimit()
    # A thread shares the worker's: the environment that it leaves reaches no handler process.
    pipeline.ended(pipeline.submit("in_thread", name="change"))
    assert pipeline.ended(pipeline.submit("in_thread", name="where")).result[0] == "/"
    assert pipeline.ended(pipeline.submit("in_process", name="where")).result == before


def test_a_crash_in_native_code_is_reported_with_its_signal_and_the_children_end_too(
    pipeline: Pipeline, worker: psutil.Process
) -> None:
    ids = [pipeline.submit("crash", name=name) for name in ("abort", "segfault")]
    ids.append(pipeline.submit("crash_with_children"))
    assert [error_of(pipeline.ended(task_id, 30))[1] for task_id in ids] == [
        "the handler's process was ended by SIGABRT",
        "the handler's process was ended by SIGSEGV",
        "the handler's process was ended by SIGKILL: killed from outside, or out of memory",
    ]
    no_tools(pipeline)


def test_a_tool_ends_with_its_task(pipeline: Pipeline, worker: psutil.Process) -> None:
    cancelled = pipeline.submit("tool")
    pipeline.until(lambda: len(tools()) == 2, 30)
    cancel(pipeline, cancelled)
    assert pipeline.ended(cancelled, 20).status is Status.CANCELLED
    no_tools(pipeline)
    late = pipeline.ended(pipeline.submit("tool_in_time"), 30)
    assert (late.status, error_of(late)) == (Status.DEAD, ("TaskTimeout", "the handler ran longer than 1 s"))
    no_tools(pipeline)
    assert pipeline.ended(pipeline.submit("tool_left")).status is Status.SUCCEEDED
    no_tools(pipeline)
    ignored = int(pipeline.ended(pipeline.submit("signals_of_tools")).result, 16)
    assert not ignored & (1 << (signal.SIGTERM - 1) | 1 << (signal.SIGINT - 1))


@pytest.mark.usefixtures("poolhouse_emulator")  # Google's never sends again what a killed worker held
def test_a_task_that_kills_its_worker_takes_a_neighbour_with_it_once_at_most(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    beside = str(tmp_path / "beside")
    guilty, neighbour = pipeline.submit("crash_worker", path=beside), pipeline.submit("beside", path=beside)
    deaths = 0
    while (record := pipeline.record(guilty)) is None or not record.status.final:
        process = pipeline.worker("run", **ENVIRONMENT)

        def dead_or_done(process: subprocess.Popen[bytes] = process) -> bool:
            found = pipeline.record(guilty)
            return process.poll() is not None or (found is not None and found.status.final)

        pipeline.until(dead_or_done, 60)
        deaths += process.poll() is not None
    assert deaths == 3
    assert record.reason == "all 3 attempts used up; the last one: the worker was lost"
    found = pipeline.ended(neighbour)
    assert [attempt.outcome for attempt in found.attempts] == [Outcome.LOST, Outcome.SUCCEEDED]


def test_processes_of_a_thread_handler_end_with_the_worker(pipeline: Pipeline) -> None:
    process = pipeline.worker("run", WORKER_GRACE_S="1", **ENVIRONMENT)
    task_id = pipeline.submit("pool_at_work")
    pipeline.until(lambda: (found := pipeline.record(task_id)) is not None and found.progress is not None, 30)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(below) >= 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not psutil.wait_procs(below, timeout=10)[1]
    record = pipeline.record(task_id)
    assert record is not None
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.STOPPED]
    assert [line["message"] for line in lines(pipeline)].count("worker stopping") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_tool_ends_with_its_worker(pipeline: Pipeline, number: signal.Signals) -> None:
    process = pipeline.worker("run", WORKER_GRACE_S="1", **ENVIRONMENT)
    pipeline.submit("tool")
    pipeline.until(lambda: len(tools()) == 2, 30)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(20) in {0, -number}
    no_tools(pipeline)
    assert not psutil.wait_procs(below, timeout=10)[1]


def test_an_interruption_passes_through_code_that_catches_exceptions(
    pipeline: Pipeline, worker: psutil.Process, tmp_path: Path
) -> None:
    ids = [pipeline.submit(task_type) for task_type in ("rows", "rows_in_process", "bare_except")]
    for task_id in ids:
        pipeline.running(task_id)
    trace = tmp_path / "rows"
    late = pipeline.submit("rows_in_time", path=str(trace))
    for task_id in ids:
        cancel(pipeline, task_id)
    assert [pipeline.ended(task_id, 20).status for task_id in ids] == [Status.CANCELLED] * 3
    assert error_of(pipeline.ended(late, 20)) == ("TaskTimeout", "the handler ran longer than 1 s")
    written = trace.read_text()
    time.sleep(0.5)  # ten rows of one that goes on
    assert trace.read_text() == written


def test_a_blocked_event_loop_is_reported_with_its_place(pipeline: Pipeline, worker: psutil.Process) -> None:
    blocking = pipeline.submit("blocking")
    assert pipeline.ended(blocking, 30).status is Status.SUCCEEDED
    reports = [line for line in lines(pipeline) if "blocks the event loop" in line["message"]]
    assert len(reports) == 1
    assert (reports[0]["severity"], reports[0]["blocking"]) == ("WARNING", blocking)
    assert any("in blocking" in place for place in reports[0]["where"])


def test_a_coroutine_that_heeds_no_cancellation_is_given_up(pipeline: Pipeline, worker: psutil.Process) -> None:
    stubborn = pipeline.ended(pipeline.submit("stubborn"), 30)
    assert error_of(stubborn) == ("TaskTimeout", "the handler ran longer than 1 s")
    assert pipeline.ended(pipeline.submit("in_loop", name="fine")).result == "fine"


@pytest.mark.parametrize("task_type", ["say_in_thread", "say_in_process"])
def test_all_that_a_handler_says_is_a_log_line_with_its_task(
    pipeline: Pipeline, worker: psutil.Process, task_type: str
) -> None:
    task_id = pipeline.submit(task_type)
    pipeline.ended(task_id)
    assert all(line.startswith("{") for line in pipeline.log.read_text().splitlines())
    said = [(line["severity"], line["message"]) for line in lines(pipeline) if line.get("task_id") == task_id]
    assert ("INFO", "printed") in said
    assert ("INFO", "unended") in said
    assert ("WARNING", "logged 1") in said
    assert ("INFO", "info") in said
    assert ("ERROR", "told") in said
    assert any(severity == "WARNING" and "UserWarning: warned" in message for severity, message in said)


@pytest.mark.parametrize("task_type", ["odd_in_thread", "odd_in_process"])
def test_a_payload_reaches_a_handler_as_it_was_submitted(
    pipeline: Pipeline, worker: psutil.Process, task_type: str
) -> None:
    payload = {"secret": "s3cret", "theAlias": 4, "listed": "a,b", "hidden": "told", "more": [1]}
    record = pipeline.ended(pipeline.submit(task_type, **payload))
    assert record.result == ["s3cret", 4, ["a", "b"], "told", 8, {"more": [1]}]


def test_what_a_default_factory_makes_is_the_same_in_every_attempt(pipeline: Pipeline, worker: psutil.Process) -> None:
    record = pipeline.ended(pipeline.submit("made_once"))
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.FAILED, Outcome.FAILED, Outcome.SUCCEEDED]
    made = [[line["key"], line["inner"]] for line in lines(pipeline) if line["message"] == "made"]
    assert made == [record.result] * 3
