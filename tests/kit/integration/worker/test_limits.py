"""Limits of four real worker processes together, checked by counting what ran, on real servers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolhouse.local.provision import realise
from poolhouse.pipeline import names
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.tasks.records import Status
from tests.kit.integration.worker.test_messages import PIPELINE, submit
from tests.kit.integration.worker.test_worker import Pipeline, _pipeline


@pytest.fixture
def pipeline(
    poolhouse_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Pipeline]:
    (tmp_path / "pipeline.toml").write_text(PIPELINE)
    monkeypatch.setenv("PIPELINE_FILE", str(tmp_path / "pipeline.toml"))
    monkeypatch.setenv("TASK_HANDLERS", "tests.kit.integration.worker.limit_handlers")
    monkeypatch.setenv("LIMIT_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("CLOCK_FILE", str(tmp_path / "clock"))
    (tmp_path / "notes").mkdir()
    loaded = settings.load()
    realise(loaded)
    with _pipeline(loaded, tmp_path / "worker.log") as built:
        yield built


def four_workers(pipeline: Pipeline) -> list[subprocess.Popen[bytes]]:
    """Four processes, once all of them are ready."""
    workers = [pipeline.worker("run", ready=False) for _ in range(4)]
    pipeline.until(lambda: pipeline.log.read_text().count("worker ready") == 4, 90)
    return workers


def begun(pipeline: Pipeline, place: str) -> list[list[str]]:
    """What began at a place, in order: process, task, how many ran then, number."""
    path = pipeline.log.parent / "notes" / place
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1:] for line in lines if line.startswith("begin")]


def test_four_processes_keep_to_limits_by_key_and_one_that_is_killed_gives_its_part_back(pipeline: Pipeline) -> None:
    workers = four_workers(pipeline)
    tasks = [submit(pipeline, "narrow", tenant="ab"[number % 2]) for number in range(80)]
    turns = [submit(pipeline, "in_turn", tenant="ab"[number % 2], number=number) for number in range(30)]
    long = [submit(pipeline, "narrow", tenant="c", seconds=600.0) for _ in range(3)]
    pipeline.until(lambda: len(begun(pipeline, "narrow-c")) == 3, 90)
    for task_id in tasks + turns:
        assert pipeline.ended(task_id).status is Status.SUCCEEDED
    for tenant in "ab":
        assert max(int(running) for _, _, running, _ in begun(pipeline, f"narrow-{tenant}")) <= 3
        assert {int(running) for _, _, running, _ in begun(pipeline, f"in_turn-{tenant}")} == {1}
    processes = {pid for tenant in "ab" for pid, *_ in begun(pipeline, f"narrow-{tenant}")}
    assert len(processes) > 1
    after = submit(pipeline, "narrow", tenant="c")
    holder = begun(pipeline, "narrow-c")[0][0]
    next(worker for worker in workers if str(worker.pid) == holder).send_signal(signal.SIGKILL)
    # Its tasks come again, and so does its part of the limit: what waits behind them gets its turn.
    lost = sum(pid == holder for pid, *_ in begun(pipeline, "narrow-c"))
    pipeline.until(lambda: len(begun(pipeline, "narrow-c")) >= 3 + lost, 90)
    assert max(int(running) for _, _, running, _ in begun(pipeline, "narrow-c")) <= 3
    assert len(long) == 3
    record = pipeline.record(after)
    assert record is None or record.status is not Status.DEAD


def test_four_processes_start_exactly_as_many_as_the_rate_allows_whenever_the_clock_says_so(pipeline: Pipeline) -> None:
    four_workers(pipeline)
    tasks = [submit(pipeline, "paced", tenant="a", number=number) for number in range(60)]
    for minute in (1, 2, 3):
        # One more than allowed would be seen at a later minute's end: nothing that began is forgotten.
        pipeline.until(lambda minute=minute: len(begun(pipeline, "paced-a")) >= 20 * minute, 90)
        assert len(begun(pipeline, "paced-a")) == 20 * minute
        (pipeline.log.parent / "clock").write_text(str(70 * minute))
    for task_id in tasks:
        record = pipeline.ended(task_id)
        assert (record.status, len(record.attempts)) == (Status.SUCCEEDED, 1)
    assert len({pid for pid, *_ in begun(pipeline, "paced-a")}) > 1
    pipeline.until(lambda: not any("paced" not in name.name for name in pipeline.store.list(names.LIMITS).objects), 5)
