"""`[schedules.NAME]` of pipeline.toml."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from poolhouse.pipeline.config import cron_expression
from poolhouse.pipeline.config.base import Name, Table
from poolhouse.pipeline.config.payload import DeclaredPayload
from poolhouse.pipeline.nearest import did_you_mean


@cache
def _time_zones() -> frozenset[str]:
    """The names of the IANA database.

    Those of the package tzdata: `zoneinfo.available_timezones` opens some 600 files, at each call.
    """
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="ascii").split())


class Schedule(Table):
    """A task submitted at the times of a cron expression."""

    #: Name of the schedule, from the table's name.
    name: Name
    #: Cron expression with five fields, such as `30 3 * * *`.
    cron: str
    #: IANA time zone that the expression is read in, such as `Europe/Berlin`.
    time_zone: str = "Etc/UTC"
    #: Task type to submit.
    task_type: str = Field(min_length=1)
    #: Queue of the task; unset: the task type's own.
    queue: str | None = None
    #: Payload of the task.
    payload: DeclaredPayload = Field(default_factory=dict)
    #: Runs missed while nothing was running: `skip` drops them, `once` makes up for the latest (on Google Cloud: within
    #: a day).
    missed_runs: Literal["skip", "once"] = "skip"

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        return cron_expression.normalized(value)

    @field_validator("time_zone")
    @classmethod
    def _time_zone(cls, value: str) -> str:
        if value not in _time_zones():
            same = {zone.casefold(): zone for zone in sorted(_time_zones())}.get(value.casefold(), value)
            near = did_you_mean(same, sorted(_time_zones()))
            raise ValueError(f"not a time zone of the IANA database, such as Europe/Berlin or Etc/UTC.{near}")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that the expression is read in."""
        return ZoneInfo(self.time_zone)
