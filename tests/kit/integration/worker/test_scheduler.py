"""Scheduler processes on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from poolhouse.local.provision import realise
from poolhouse.pipeline import names
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.store import open_store
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.timing.schedules import ScheduleState
from tests.kit.waiting import until

ROOT = Path(__file__).parents[4]
#: Due once a year, and made up for: with a state of two years ago it is due at once.
PIPELINE = """
[queues.default]
[schedules.yearly]
cron = "0 0 1 1 *"
missed_runs = "once"
task_type = "data_transformation"
payload = { dataset_size = 10, transformation = "normalize" }
queue = "default"
"""


def test_of_several_scheduler_processes_one_submits_a_run_and_all_end_at_sigterm(
    poolhouse_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    monkeypatch.setenv("PIPELINE_FILE", str(tmp_path / "pipeline.toml"))
    environment = settings.load()
    realise(environment)
    store = open_store(environment)
    long_ago = datetime.now(UTC) - timedelta(days=800)
    state = ScheduleState(cron="0 0 1 1 *", time_zone="Etc/UTC", settled_until=long_ago)
    store.put(names.schedule("yearly"), state.model_dump_json().encode())

    logs = [tmp_path / f"{number}.log" for number in range(3)]
    processes = []
    try:
        for log in logs:
            with log.open("wb") as file:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "poolhouse.worker", "schedules"],
                        cwd=ROOT,
                        stdout=file,
                        stderr=file,
                        env=os.environ,
                    )
                )

        def messages() -> list[str]:
            return [json.loads(line)["message"] for log in logs for line in log.read_text().splitlines()]

        until(lambda: messages().count("scheduler ready") == 3 and "schedule run" in messages())
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(10) for process in processes] == [0, 0, 0], messages()
        assert messages().count("schedule run") == 1
    finally:
        for process in processes:
            process.kill()
            process.wait()

    new_year = datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)
    task_id = load_task_ids(store).derive(f"schedule yearly {new_year.year}-01-01T00:00:00.000Z", new_year)
    with pubsub_v1.SubscriberClient() as subscriber:
        path = subscriber.subscription_path(environment.google_cloud_project, "poolhouse-default-workers")
        pulled = subscriber.pull(subscription=path, max_messages=10, timeout=10).received_messages
    assert [received.message.attributes["task_id"] for received in pulled] == [task_id]


def test_an_environment_that_is_not_complete_is_named_and_ends_with_2() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "poolhouse.worker", "schedules"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "BUCKET_NAME" in ended.stderr
