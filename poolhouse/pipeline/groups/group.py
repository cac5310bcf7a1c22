"""A group: how many members, what follows their end. Its tasks' ids are places in it, so none is listed anywhere."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.tasks.links import Link, Planned
from poolhouse.pipeline.tasks.task_ids import FIRST_AFTER_MEMBERS, GROUP_PLACE

#: Members of one group.
MAX_MEMBERS = 100_000
#: The places of the tasks that follow the end of all members, and the first failure.
JOIN, FAILURE = GROUP_PLACE - 1, FIRST_AFTER_MEMBERS

#: What the join waits for: the success of all members, or their end however it was.
WaitFor = Literal["succeeded", "ended"]


class Group(BaseModel):
    """A group, as it is kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    group_id: str
    created_at: datetime
    #: How many members; None while they are still being added.
    size: int | None = None
    wait_for: WaitFor = "succeeded"
    #: The join.
    then: Planned | None = None
    #: What follows the first member that fails for good.
    on_failure: Link | None = None
    #: The task whose handler made the group.
    parent_id: str | None = None
    #: The attempt of that task that wrote the members.
    written_by: int | None = None
    cancelled_at: datetime | None = None
    #: Of the call that made it: a repetition is told from another call.
    body_sha256: str | None = None
