"""A worker process on a fair queue: counted, not timed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from poolhouse.api.backlog import EmulatorBacklog
from poolhouse.pipeline.config import settings
from poolhouse.pipeline.control.control_store import ControlStore
from poolhouse.pipeline.messaging.fair_tiers import LIMITS
from tests.kit.integration.worker import test_worker
from tests.kit.integration.worker.test_worker import Pipeline

FLOOD = 1500
CONCURRENCY = 4
PIPELINE = f"""
[queues.shared]
ack_deadline_s = 60
fair_by = "tenant"
[queues.shared.workers]
concurrency = {CONCURRENCY}
"""


@pytest.fixture
def fair(poolhouse_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Pipeline]:
    from poolhouse.local.provision import realise

    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE)
    monkeypatch.setenv("PIPELINE_FILE", str(file))
    monkeypatch.setenv("TASK_HANDLERS", "tests.kit.integration.worker.handlers")
    loaded = settings.load()
    realise(loaded)
    with test_worker._pipeline(loaded, tmp_path / "worker.log") as built:
        yield built


@pytest.mark.usefixtures("poolhouse_emulator")  # Google's reports no backlog
def test_one_task_behind_a_flood_of_another_tenant_waits_for_few_of_them(
    fair: Pipeline, poolhouse_environment: dict[str, str], tmp_path: Path
) -> None:
    visits, gate = tmp_path / "visits", tmp_path / "gate"
    where: dict[str, Any] = {"visits": str(visits), "gate": str(gate)}
    for _ in range(FLOOD):
        fair.submit("visit", queue="shared", tenant="flood", **where)
    fair.submit("visit", queue="shared", tenant="small", **where)
    (queue,) = fair.settings.topology.queues
    backlog = EmulatorBacklog(poolhouse_environment["PUBSUB_EMULATOR_HOST"], project=fair.settings.google_cloud_project)
    assert backlog.look(queue).backlog == FLOOD + 1
    worker = fair.worker("run")
    # The first ones hold all threads until the worker has messages of every tier at hand.
    fair.until(lambda: backlog._look(queue.subscription).in_flight == LIMITS[0] + 1, 60)
    fair.until(lambda: all((backlog._look(tier.subscription).in_flight or 0) > 0 for tier in queue.tiers), 60)
    fair.until(lambda: _is_at_rest(worker.pid), 60)  # what was sent has come
    visits.touch()
    gate.touch()
    fair.until(lambda: "small" in visits.read_text().split(), 60)
    waited_for = visits.read_text().split().index("small")
    # Those that ran, those of the first tier, and a quarter, a sixteenth … of their number from the other tiers.
    assert waited_for <= CONCURRENCY + LIMITS[0] + LIMITS[0] // 3 + len(LIMITS)


@pytest.mark.usefixtures("poolhouse_emulator")  # Google's reports no backlog
def test_a_pause_closes_all_tiers_and_gives_back_what_they_held(
    fair: Pipeline, poolhouse_environment: dict[str, str], tmp_path: Path
) -> None:
    visits, gate = tmp_path / "visits", tmp_path / "gate"
    gate.touch()
    visits.touch()
    (queue,) = fair.settings.topology.queues
    backlog = EmulatorBacklog(poolhouse_environment["PUBSUB_EMULATOR_HOST"], project=fair.settings.google_cloud_project)
    fair.worker("run")
    control = ControlStore(fair.store)
    control.change(lambda decided: decided.pause(queue.name, now=datetime.now(UTC)))
    fair.until(lambda: fair.log.read_text().count("queue paused") == len(queue.tiers), 20)
    for _ in range(150):
        fair.submit("visit", queue="shared", tenant="flood", visits=str(visits), gate=str(gate))
    figures = backlog.look(queue)
    assert (figures.backlog, figures.in_flight, visits.read_text()) == (150, 0, "")
    control.change(lambda decided: decided.resume(queue.name))
    fair.until(lambda: len(visits.read_text().split()) == 150, 60)


def _is_at_rest(pid: int) -> bool:
    """Whether each thread of a process waits for something; taken for granted where there is no /proc."""
    try:
        states = [file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has ended in between
        return False
    return all(state == "S" for state in states)
