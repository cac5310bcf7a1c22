"""What a listing of tasks is asked for: its parameters read, and its page tokens."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from poolhouse.api.selection import Moment
from poolhouse.pipeline.config.base import is_name
from poolhouse.pipeline.errors import InvalidName
from poolhouse.pipeline.index.database import TaskQuery
from poolhouse.pipeline.index.entry import Entry, moment
from poolhouse.pipeline.messaging.message import format_time
from poolhouse.pipeline.names import check_task_id
from poolhouse.pipeline.nearest import did_you_mean
from poolhouse.pipeline.numbers import Whole
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.tasks.task_ids import is_group, well_formed

#: More than any time that tasks have, in microseconds, and no more than SQLite's integers.
_MOST_MICROS = 2**63


def _statuses(text: str) -> str:
    names = [name for name in text.split(",") if name]
    if text and not names:
        raise ValueError("names no status")
    for name in names:
        if name not in set(Status):
            raise ValueError(f"{name!r} is none of {', '.join(Status)}.{did_you_mean(name, Status)}")
    return text


def _group(text: str | None) -> str | None:
    if text and not (well_formed(text) and is_group(text)):
        raise ValueError("is no id of a group")
    return text


def _declared(text: str | None) -> str | None:
    if text and not is_name(text):
        raise ValueError("is no name that pipeline.toml can declare")
    return text


class Listing(BaseModel):
    """Which tasks are meant: the query of GET /tasks."""

    model_config = ConfigDict(extra="ignore")

    status: Annotated[str, AfterValidator(_statuses)] = Field(
        default="", description="Only tasks of this status; several with commas between them: `failed,dead`."
    )
    task_type: str | None = Field(default=None, description="Only tasks of this type.")
    queue: str | None = Field(default=None, description="Only tasks of this queue.")
    parent_id: str | None = Field(
        default=None, max_length=128, description="Only tasks that this one submitted, or that follow its end."
    )
    group_id: Annotated[str | None, AfterValidator(_group)] = Field(
        default=None, description="Only members of this group."
    )
    trigger: Annotated[str | None, AfterValidator(_declared)] = Field(
        default=None, description="Only tasks that this trigger submitted."
    )
    schedule: Annotated[str | None, AfterValidator(_declared)] = Field(
        default=None, description="Only tasks that this schedule submitted."
    )
    submitted_after: Moment | None = Field(default=None, description="Only tasks submitted then or later.")
    submitted_before: Moment | None = Field(default=None, description="Only tasks submitted before.")
    changed_after: Moment | None = Field(default=None, description="Only tasks that changed later than this.")
    id_prefix: str | None = Field(default=None, max_length=128, description="Only tasks whose id begins so.")
    text: str | None = Field(
        default=None,
        max_length=200,
        description="Only tasks with this text, in any case, in the first 200 characters of payload, error or result.",
    )
    sort: Literal["newest", "due"] = Field(
        default="newest", description="`due`: only scheduled tasks, the one that is due next first."
    )
    count: bool = Field(
        default=False, description="Whether the answer has the number of all such tasks, in `total` and `by_status`."
    )
    page_size: Whole = Field(default=100, ge=1, le=1000)
    page_token: str | None = Field(default=None, max_length=2000, description="next_page_token of the page before.")

    def query(self) -> TaskQuery:
        """Which tasks are meant."""
        return TaskQuery(
            statuses=frozenset({"scheduled"} if self.by_due else filter(None, self.status.split(","))),
            task_type=self.task_type or None,
            queue=self.queue or None,
            parent=self.parent_id or None,
            group=self.group_id or None,
            trigger=self.trigger or None,
            schedule=self.schedule or None,
            submitted_after=self.submitted_after,
            submitted_before=self.submitted_before,
            changed_after=self.changed_after,
            id_prefix=self.id_prefix or None,
            text=self.text or None,
        )

    @property
    def by_due(self) -> bool:
        """Whether scheduled tasks are meant, the one that is due next first."""
        return self.sort == "due"

    @model_validator(mode="after")
    def _scheduled_alone(self) -> Self:
        if self.by_due and self.status not in {"", Status.SCHEDULED}:
            raise ValueError("sort=due lists scheduled tasks: leave status out")
        return self

    def after(self) -> tuple[int, str] | None:
        """Time and id of the last task of the page before. Raises `InvalidName`."""
        return after_token(self.page_token) if self.page_token else None


Listed = Annotated[Listing, Query()]


def token_after(last: Entry, *, by_due: bool) -> str:
    """The token of the page after the one that ends with a task."""
    at = last.due if by_due else last.submitted
    return base64.urlsafe_b64encode(json.dumps([at, last.task_id]).encode()).decode()


def after_token(token: str) -> tuple[int, str]:
    """Time and id of the task that a page ended with, by its token. Raises `InvalidName`."""
    with suppress(ValueError, TypeError, RecursionError):
        at, task_id = json.loads(base64.urlsafe_b64decode(token))
        if type(at) is int and abs(at) < _MOST_MICROS:
            return at, check_task_id(task_id)
    raise InvalidName("page_token: this is no token of such a listing")


def summary(entry: Entry) -> dict[str, Any]:
    """A task as a listing has it."""
    found = {
        "task_id": entry.task_id,
        "task_type": entry.task_type,
        "queue": entry.queue,
        "status": entry.status,
        "submitted_at": _time(entry.submitted),
        "updated_at": _time(entry.updated),
        "attempts": entry.attempts,
        "started_at": _time(entry.last_started),
        "ended_at": _time(entry.ended),
        "not_before": _time(entry.due) if entry.status == Status.SCHEDULED else None,
        "reason": entry.reason or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _time(at: int | None) -> str | None:
    return None if at is None else format_time(moment(at))
