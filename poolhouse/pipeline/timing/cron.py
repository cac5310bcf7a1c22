"""When a schedule is due: cron expressions over time zones, as instants in UTC.

The clock changes are Debian cron's (cronsim, "DST transitions"): a job at a fixed time that the clock skips runs at the
first minute after the gap, and one in the hour that comes twice runs the first time only; a job of every hour or of
every few minutes runs at every such instant, whatever the clock shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cronsim import CronSim

from poolhouse.pipeline.config.schedule import Schedule

#: How far `latest_due` looks back, again and again further: a schedule of every minute is found in the first step.
_LOOK_BACK = tuple(timedelta(days=days) for days in (1 / 24, 1, 32, 366, 4 * 366 + 1, 40 * 366))


def next_due(schedule: Schedule, *, after: datetime) -> datetime | None:
    """The first instant after `after` at which a schedule is due; None if there is none in 50 years."""
    return next(_due(schedule, after), None)


def latest_due(schedule: Schedule, *, after: datetime, until: datetime) -> datetime | None:
    """The last instant in (`after`, `until`] at which a schedule was due; None where it was not."""
    for span in _LOOK_BACK:
        start = max(after, until - span)
        latest = None
        for due in _due(schedule, start):
            if due > until:
                break
            latest = due
        if latest is not None or start == after:
            return latest
    return None


def _due(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """The instants after `after`, in order."""
    # Compared in UTC: aware datetimes of one zone compare by what the clock shows, which is wrong when it is set back.
    last = after.astimezone(UTC)
    for local in CronSim(schedule.cron, after.astimezone(schedule.zone)):
        due = local.astimezone(UTC)
        # Within an hour that comes twice, cronsim also gives instants of its first time, which have passed.
        if due > last:
            yield due
            last = due
