"""The commands as typed, on a stack: pyinvoke, poolhouse/commands, API, worker, storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolhouse.local import state
from poolhouse.project import ROOT
from poolhouse.testing.plugin import Stack

pytestmark = pytest.mark.xdist_group("stack")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(poolhouse_stack: Stack, tmp_path: Path) -> Run:
    """Runs `invoke` in another process, which finds the stack by its state file."""
    found = state.StackState(backend="embedded", endpoints=poolhouse_stack.endpoints, ready=True)
    state.write(tmp_path / "state", found)

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=ROOT,
            env={**os.environ, "POOLHOUSE_STATE_DIR": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    return run


def test_a_file_is_uploaded_worked_on_and_its_report_printed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "small table.csv").write_text("a,b\n1,2\n3,4\n")
    file = str(tmp_path / "small table.csv")
    ended = run("submit", "file_processing", 'operations=["inspect"]', "--file", file, "filename=cli/t.csv", "--wait")
    report = json.loads(ended.stdout)
    assert (report["filename"], report["table"]["rows"], report["operations"]) == ("cli/t.csv", 2, ["inspect"])
    assert "as uploads/cli/t.csv" in ended.stderr


def test_an_empty_file_is_uploaded_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").write_bytes(b"")
    report = tmp_path / "report.json"
    run("submit", "file_processing", "--file", str(tmp_path / "nothing"), "--output", str(report))
    assert json.loads(report.read_text())["size_bytes"] == 0


def test_what_died_is_listed_mended_and_succeeds(run: Run, tmp_path: Path) -> None:
    failed = run("submit", "file_processing", "filename=cli/not-there.csv", "--watch", code=1)
    assert "input not found: uploads/cli/not-there.csv" in failed.stderr
    listed = run("dlq", "list", "--type", "file_processing", "--reason", "cli/not-there", "--newer", "1h", "--json")
    task_id = json.loads(listed.stdout.splitlines()[-1])["task_id"]
    assert "cli/not-there.csv" in run("dlq", "show", task_id).stdout

    (tmp_path / "there.csv").write_text("a\n1\n")
    run("submit", "file_processing", "--file", str(tmp_path / "there.csv"), "--wait")
    assert "replayed 1 dead letter" in run("dlq", "replay", task_id, "filename=there.csv", "--rate", "10/s").stderr
    # The record is the same task's: both lives are in it.
    task = _ended(run, task_id)
    assert task["status"] == "succeeded"
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["rejected", "succeeded"]


def _ended(run: Run, task_id: str) -> dict[str, Any]:
    """The task, once it is not what it was before a replay, nor on its way."""
    deadline_s = time.monotonic() + 60
    while True:
        task: dict[str, Any] = json.loads(run("tasks", task_id, "--json").stdout)
        if task["status"] not in {"queued", "running", "dead", "failed"}:
            return task
        assert time.monotonic() < deadline_s, task


def test_schedules_are_listed_run_paused_and_resumed(run: Run) -> None:
    task_id = run("schedule", "run", "nightly-sample").stdout.strip()
    assert _ended(run, task_id)["status"] == "succeeded"
    run("schedule", "pause", "nightly-sample")
    assert "paused" in run("schedule", "list").stdout
    run("schedule", "resume", "nightly-sample")
    assert "paused" not in run("schedule", "list").stdout


def test_wrong_use_ends_with_2_and_without_a_stack_with_1(run: Run, tmp_path: Path) -> None:
    assert "which ones?" in run("dlq", "replay", code=2).stderr
    assert "there is no task type 'nope'" in run("submit", "nope", code=2).stderr
    (tmp_path / "state" / "state.json").unlink()
    for words in (("submit", "file_processing", "filename=x"), ("tasks",), ("dlq", "list"), ("schedule", "list")):
        assert run(*words, code=1).stderr.strip() == "no stack is up: start one with ./invoke up"
