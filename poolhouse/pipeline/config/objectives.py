"""`[queues.NAME.slo]` of pipeline.toml: what is promised of a queue's tasks, and watched by alerts."""

from __future__ import annotations

from pydantic import Field, field_validator

from poolhouse.pipeline.config.base import Table
from poolhouse.pipeline.metrics.definitions import TASK_BOUNDS_S

#: A looser objective leaves more to break than can fail at the pace that an alert looks for.
LOOSEST = 0.94


class Objectives(Table):
    """What is promised of a queue's tasks."""

    #: Part of the tasks that succeed, of those that end in an attempt; cancelled ones are left out.
    success: float = Field(default=0.99, ge=LOOSEST, lt=1)
    #: Part of the tasks that start within `wait_s`.
    wait: float = Field(default=0.95, ge=LOOSEST, lt=1)
    #: Seconds from the time that a task is due to its first attempt: one of the bounds of `poolhouse.task.wait`.
    wait_s: float = 900

    @field_validator("wait_s")
    @classmethod
    def _is_a_bound(cls, value: float) -> float:
        if value not in TASK_BOUNDS_S:
            known = ", ".join(f"{bound:g}" for bound in TASK_BOUNDS_S)
            raise ValueError(f"waits are counted by these bounds: {known}")
        return value
