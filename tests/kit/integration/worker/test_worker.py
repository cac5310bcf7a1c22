"""A worker process on real servers: it drains, stops, dies, and nothing is lost."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import open_store
from poolhouse.pipeline.tasks.dead_letters import DeadLetterStore
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Outcome, Status, TaskRecord
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.tasks.transitions import cancel_requested

ROOT = Path(__file__).parents[4]
#: Short leases, so that a test need not wait for long ones.
PIPELINE = """
[queues.urgent]
ack_deadline_s = 10
retry_min_backoff_s = 0
retry_max_backoff_s = 1
[queues.urgent.workers]
concurrency = 4
[queues.default]
ack_deadline_s = 10
retry_min_backoff_s = 5
[queues.default.workers]
concurrency = 4
"""


class Pipeline:
    """What a test does with a pipeline of its own."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log
        self.store = open_store(settings)
        self.records = RecordStore(self.store)
        self.publisher = Publisher(settings)
        self.task_ids = load_task_ids(self.store)
        self.box = DeadLetterStore(self.store, queues=tuple(settings.topology.by_name), task_ids=self.task_ids)
        self.workers: list[subprocess.Popen[bytes]] = []

    def submit(self, task_type: str, *, queue: str = "urgent", **payload: Any) -> str:
        now = datetime.now(UTC)
        task_id = self.task_ids.new(now)
        message = TaskMessage(task_id=task_id, task_type=task_type, submitted_at=now, queue=queue, payload=payload)
        self.publisher.submit(message).result()
        return task_id

    def worker(self, *arguments: str, ready: bool = True, **environment: str) -> subprocess.Popen[bytes]:
        known = self.log.read_text().count("worker ready") if self.log.exists() else 0
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "poolhouse.worker", *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        self.workers.append(process)
        if ready:
            self.until(lambda: self.log.read_text().count("worker ready") > known, 60)
        return process

    def stop(self, process: subprocess.Popen[bytes], *, within_s: float = 20) -> None:
        """Let a worker end in order; one that does not end says where its threads are."""
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(within_s) == 0, self.log.read_text()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            process.wait()
            pytest.fail(f"the worker did not end within {within_s:g} s of SIGTERM:\n{self.log.read_text()}")

    def record(self, task_id: str) -> TaskRecord | None:
        stored = self.records.read(task_id)
        return stored.record if stored else None

    def ended(self, task_id: str, timeout_s: float = 60) -> TaskRecord:
        self.until(lambda: (found := self.record(task_id)) is not None and found.status.final, timeout_s)
        record = self.record(task_id)
        assert record is not None
        return record

    def running(self, task_id: str) -> None:
        self.until(lambda: (found := self.record(task_id)) is not None and found.status is Status.RUNNING, 30)

    def until(self, condition: Callable[[], object], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"it did not come true in {timeout_s:g} s; the log:\n{self.log.read_text()}"
            time.sleep(0.02)


@contextmanager
def _pipeline(settings: Settings, log: Path) -> Iterator[Pipeline]:
    pipeline = Pipeline(settings, log)
    try:
        yield pipeline
    finally:
        for process in pipeline.workers:
            process.kill()
            process.wait()
        pipeline.publisher.close()


@pytest.fixture
def pipeline(
    poolhouse_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Pipeline]:
    from poolhouse.local.provision import realise
    from poolhouse.pipeline.config import settings

    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE)
    monkeypatch.setenv("PIPELINE_FILE", str(file))
    monkeypatch.setenv("TASK_HANDLERS", "tests.kit.integration.worker.handlers")
    loaded = settings.load()
    realise(loaded)
    with _pipeline(loaded, tmp_path / "worker.log") as built:
        yield built


def test_a_drain_works_until_the_queues_are_empty_and_reports_whether_all_went_well(pipeline: Pipeline) -> None:
    done = [pipeline.submit("add", a=number, b=1) for number in range(20)]
    first = pipeline.worker("drain", "--linger", "1", ready=False)
    assert first.wait(60) == 0
    assert [pipeline.ended(task_id, 1).result for task_id in done] == [number + 1 for number in range(20)]
    bad = pipeline.submit("refuse")
    second = pipeline.worker("drain", "--linger", "1", ready=False)
    assert second.wait(60) == 1
    assert pipeline.ended(bad, 1).status is Status.FAILED


def test_a_drain_stops_taking_work_when_its_budget_is_used_up(pipeline: Pipeline) -> None:
    tasks = [pipeline.submit("nap", seconds=0.5) for _ in range(24)]
    process = pipeline.worker("drain", "--linger", "5", "--budget", "1.5", ready=False)
    assert process.wait(60) == 0
    left = [task_id for task_id in tasks if (found := pipeline.record(task_id)) is None or not found.status.final]
    assert left
    # Longer than the lease: what was on its way to the first worker when it stopped comes again only after that.
    again = pipeline.worker("drain", "--linger", "12", ready=False)
    assert again.wait(120) == 0
    assert {pipeline.ended(task_id, 1).status for task_id in tasks} == {Status.SUCCEEDED}


def test_sigterm_hands_over_what_can_not_finish_and_the_next_worker_has_it_within_seconds(
    pipeline: Pipeline,
) -> None:
    stopping = pipeline.worker("run", WORKER_GRACE_S="2")
    # The queue's backoff is 5 s: what is handed over must not wait for it.
    task_id = pipeline.submit("nap", queue="default", seconds=8)
    pipeline.running(task_id)
    other = pipeline.worker("run")
    stopping.send_signal(signal.SIGTERM)
    assert stopping.wait(10) == 0
    stopped = time.monotonic()
    record = pipeline.ended(task_id, 30)
    assert [attempt.outcome for attempt in record.attempts] == [Outcome.STOPPED, Outcome.SUCCEEDED]
    handed_over = record.attempts[1].started_at - (record.attempts[0].ended_at or record.attempts[1].started_at)
    assert handed_over.total_seconds() < 3
    assert time.monotonic() - stopped < 30
    assert other.poll() is None


def test_a_second_signal_ends_the_grace_period_at_once(pipeline: Pipeline) -> None:
    worker = pipeline.worker("run", WORKER_GRACE_S="60")
    task_id = pipeline.submit("stare", seconds=30)
    pipeline.running(task_id)
    worker.send_signal(signal.SIGTERM)
    pipeline.until(lambda: "worker stopping" in pipeline.log.read_text(), 10)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    record = pipeline.record(task_id)
    assert record is not None
    assert (record.status, record.attempts[-1].outcome) == (Status.QUEUED, Outcome.STOPPED)


def test_a_signal_that_another_thread_gets_stops_the_worker_too(pipeline: Pipeline) -> None:
    worker = pipeline.worker("run")
    threads = [thread.id for thread in psutil.Process(worker.pid).threads() if thread.id != worker.pid]
    assert ctypes.CDLL(None).tgkill(worker.pid, threads[0], signal.SIGTERM) == 0
    assert worker.wait(20) == 0


def test_a_worker_that_does_not_end_in_time_says_where_it_is(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "stuck.toml"
    file.write_text('hooks = ["tests.kit.integration.worker.handlers:StuckAtTheEnd"]\n' + PIPELINE)
    worker = pipeline.worker("run", WORKER_GRACE_S="0", PIPELINE_FILE=str(file))
    worker.send_signal(signal.SIGTERM)
    pipeline.until(lambda: "handlers.py" in pipeline.log.read_text(), 20)


# Google's emulator never sends again what it had sent to a stream whose client died (docs/docker.md).
@pytest.mark.usefixtures("poolhouse_emulator")
def test_kill_9_loses_nothing_and_makes_no_second_result(pipeline: Pipeline) -> None:
    victim = pipeline.worker("run")
    slow = [pipeline.submit("nap", seconds=2) for _ in range(3)]
    for task_id in slow:
        pipeline.running(task_id)
    quick = [pipeline.submit("add", a=number, b=1) for number in range(100)]
    victim.kill()
    pipeline.worker("run")
    records = [pipeline.ended(task_id, 60) for task_id in [*slow, *quick]]
    assert {record.status for record in records} == {Status.SUCCEEDED}
    assert [record.attempts[0].outcome for record in records[:3]] == [Outcome.LOST] * 3
    assert all(sum(a.outcome is Outcome.SUCCEEDED for a in record.attempts) == 1 for record in records)


@pytest.mark.parametrize("command", ["run", "drain"])
def test_a_cancel_call_reaches_a_running_task_within_two_seconds(pipeline: Pipeline, command: str) -> None:
    pipeline.worker(command)
    task_id = pipeline.submit("nap", seconds=60)
    pipeline.running(task_id)
    stored = pipeline.records.read(task_id)
    assert stored is not None
    pipeline.records.write(cancel_requested(stored.record, now=datetime.now(UTC)), if_generation=stored.generation)
    asked = time.monotonic()
    assert pipeline.ended(task_id, 10).status is Status.CANCELLED
    assert time.monotonic() - asked < 4  # 2 s, and room for a machine that is busy


def test_dead_letters_are_kept_replayed_and_then_succeed(pipeline: Pipeline) -> None:
    pipeline.worker("run", "--dead-letters")
    refused = pipeline.submit("refuse")
    pipeline.publisher.publish("poolhouse-urgent", b"{not json", {}).result()
    pipeline.until(lambda: pipeline.box.count("urgent") == 2, 30)
    reasons = sorted(letter.reason for letter in pipeline.box.page().dead_letters)
    assert reasons[0].startswith("malformed message: the body is not JSON")
    assert reasons[1] == "never"
    pipeline.box.replay(refused, pipeline.publisher, now=datetime.now(UTC), payload={"really": True})
    record = pipeline.ended(refused, 30)
    assert (record.status, [a.outcome for a in record.attempts]) == (
        Status.SUCCEEDED,
        [Outcome.REJECTED, Outcome.SUCCEEDED],
    )


def test_progress_is_written_while_a_task_runs(pipeline: Pipeline) -> None:
    pipeline.worker("run")
    task_id = pipeline.submit("nap", seconds=4)
    pipeline.until(lambda: (found := pipeline.record(task_id)) is not None and found.progress is not None, 20)
    record = pipeline.record(task_id)
    assert record is not None
    assert record.progress is not None
    assert record.progress.total == 4
    pipeline.ended(task_id)


def test_a_worker_without_its_subscription_says_what_to_do(pipeline: Pipeline, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('name = "nowhere"\n[queues.default]\n')
    process = pipeline.worker("run", ready=False, PIPELINE_FILE=str(other))
    assert process.wait(60) == 2
    assert "there is no subscription" in pipeline.log.read_text()
    assert "Traceback" not in pipeline.log.read_text()


@pytest.fixture
def undeclared(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    """The environment of a pipeline of which nothing is made yet."""
    other = tmp_path / "other.toml"
    other.write_text('name = "later"\n[queues.default]\n')
    monkeypatch.setenv("PIPELINE_FILE", str(other))
    monkeypatch.setenv("BUCKET_NAME", f"{pipeline.settings.bucket_name[:50]}-later")
    return pipeline


def test_a_worker_that_may_wait_begins_once_its_topology_is_made(undeclared: Pipeline) -> None:
    from poolhouse.local.provision import realise

    worker = undeclared.worker("run", ready=False, WAIT_FOR_TOPOLOGY_S="60")
    undeclared.until(lambda: "waiting for the topology" in undeclared.log.read_text(), 30)
    assert worker.poll() is None
    realise(Settings())
    undeclared.until(lambda: "worker ready" in undeclared.log.read_text(), 30)


def test_a_worker_that_waits_for_its_topology_heeds_a_signal(undeclared: Pipeline) -> None:
    worker = undeclared.worker("run", ready=False, WAIT_FOR_TOPOLOGY_S="60")
    undeclared.until(lambda: "waiting for the topology" in undeclared.log.read_text(), 30)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0


def test_a_worker_that_waited_in_vain_says_what_is_missing(undeclared: Pipeline) -> None:
    assert undeclared.worker("run", ready=False, WAIT_FOR_TOPOLOGY_S="0.5").wait(60) != 0
    last = undeclared.log.read_text().splitlines()[-1]
    assert f"bucket {os.environ['BUCKET_NAME']}" in last


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["run", "--queue", "vip"], {}, "no such queue: vip (queues: urgent, default)"),
        (["run"], {"BUCKET_NAME": ""}, "BUCKET_NAME: Field required"),
        (["run"], {"TASK_HANDLERS": "no.such.module"}, "no.such.module can't be imported"),
        (["run"], {"PIPELINE_FILE": "/none.toml"}, "/none.toml: can't be read"),
    ],
)
def test_a_mistake_in_arguments_or_environment_is_one_message(
    pipeline: Pipeline, arguments: list[str], environment: dict[str, str], words: str
) -> None:
    process = pipeline.worker(*arguments, ready=False, **environment)
    assert process.wait(60) == 2
    assert words in pipeline.log.read_text()
    assert "Traceback" not in pipeline.log.read_text()


def test_logs_are_json_lines_with_severity(pipeline: Pipeline) -> None:
    pipeline.worker("drain", "--linger", "0.5", ready=False).wait(60)
    lines = [json.loads(line) for line in pipeline.log.read_text().splitlines()]
    assert {line["severity"] for line in lines} == {"INFO"}
    assert [line["message"] for line in lines] == ["worker ready", "worker stopping", "worker stopped"]
