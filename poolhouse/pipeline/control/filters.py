"""Which tasks, or which dead letters, are meant: the one filter of listings and bulk calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from poolhouse.pipeline.messaging.message import parse_time
from poolhouse.pipeline.tasks.records import Status

#: Statuses of tasks that have not ended: those that a bulk cancel means unless it names some.
LIVE = frozenset({Status.SCHEDULED, Status.QUEUED, Status.RUNNING})


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Every field that is set must match."""

    queue: str | None = None
    task_type: str | None = None
    #: Statuses, of tasks alone.
    status: frozenset[Status] = frozenset()
    #: Part of the reason in any case, of dead letters alone.
    reason: str | None = None
    #: Only what was submitted, or died, before this time.
    before: datetime | None = None
    #: Only what was submitted, or died, at this time or later.
    after: datetime | None = None

    @property
    def empty(self) -> bool:
        """Whether everything is meant."""
        return all(not getattr(self, field.name) for field in fields(self))

    def matches(
        self, *, queue: str, task_type: str, at: str | datetime, status: Status | None = None, reason: str = ""
    ) -> bool:
        """Return whether an entry is meant; one whose time is unknown is neither before nor after any other."""
        if self.queue not in {None, queue} or self.task_type not in {None, task_type}:
            return False
        if self.status and status not in self.status:
            return False
        if self.reason and self.reason.lower() not in reason.lower():
            return False
        if self.before is None and self.after is None:
            return True
        try:
            moment = parse_time(at) if isinstance(at, str) else at
        except ValueError:
            return False
        return (self.before is None or moment < self.before) and (self.after is None or moment >= self.after)


#: Whatever there is.
EVERYTHING = Filter()
