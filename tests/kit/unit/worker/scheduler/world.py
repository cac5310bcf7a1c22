"""Schedulers over a bucket and queues in memory, with a clock of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.schedules import Schedules, queue_of
from poolhouse.testing.doubles import ManualClock, MemoryStore, MemoryTopics
from poolhouse.worker import Payload, TaskContext, task
from poolhouse.worker.registry import Registry
from poolhouse.worker.scheduler import SchedulePlanner

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
IDS = TaskIds(b"k" * 32)


class Report(Payload):
    rows: int


@task("report", queue="bulk")
def report(payload: Report, ctx: TaskContext) -> None:
    """Make a report."""


REGISTRY = Registry(report.__poolhouse_handlers__)  # type: ignore[attr-defined]


def declared(
    cron: str = "0 * * * *",
    *,
    zone: str = "Etc/UTC",
    missed_runs: str = "skip",
    queue: str | None = None,
    rows: Any = 3,
) -> topology.Topology:
    chosen = f'queue = "{queue}"' if queue else ""
    return topology.parse(
        f"""
        [queues.default]
        [queues.bulk]
        [schedules.hourly]
        cron = "{cron}"
        time_zone = "{zone}"
        missed_runs = "{missed_runs}"
        task_type = "report"
        payload = {{ rows = {json.dumps(rows)} }}
        {chosen}
        """
    )


@dataclass
class World:
    """A bucket and queues, and any number of schedulers over them."""

    plan: topology.Topology = field(default_factory=declared)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    store: MemoryStore = field(default_factory=MemoryStore)
    topics: MemoryTopics = field(default_factory=MemoryTopics)

    def schedules(self, owner: str = "one") -> Schedules:
        settings = Settings(google_cloud_project="unit", bucket_name="unit-bucket", publish_timeout_s=1)
        settings.__dict__["topology"] = self.plan
        return Schedules(
            self.store,
            topology=self.plan,
            task_ids=IDS,
            publisher=Publisher(settings, topics=self.topics),
            queue_of=partial(queue_of, task_types=REGISTRY, topology=self.plan),
            owner=owner,
        )

    def agenda(self, owner: str = "one") -> SchedulePlanner:
        agenda = SchedulePlanner(self.schedules(owner), owner=owner)
        self.settle(agenda)
        return agenda

    def settle(self, *agendas: SchedulePlanner) -> datetime | None:
        """Tick until nobody has anything to do now; when they want to be called next."""
        for _ in range(1_000):
            wake = [agenda.tick(self.clock()) for agenda in agendas]
            if all(at is None or at > self.clock() for at in wake):
                return min((at for at in wake if at is not None), default=None)
        raise AssertionError(f"a scheduler is never done: it wants to be called at {wake}")

    def pass_time(self, seconds: float, *agendas: SchedulePlanner) -> None:
        """Let the time pass; the schedulers are called when they want to be, and not more often."""
        end = self.clock() + timedelta(seconds=seconds)
        wakes = 0
        while (wake := self.settle(*agendas)) is not None and wake <= end:
            self.clock.now = wake
            wakes += 1
            assert wakes < 1_000, "a scheduler wants to be called again and again"
        self.clock.now = end
        self.settle(*agendas)

    @property
    def published(self) -> list[dict[str, Any]]:
        return [json.loads(published.message.data) for published in self.topics.published]

    @property
    def due_times(self) -> list[str]:
        return [body["submitted_at"][5:16] for body in self.published]
