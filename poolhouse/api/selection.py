"""What bulk calls ask for: which tasks or dead letters, and how many of them in one call."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from poolhouse.api import bodies
from poolhouse.api.problems import field_errors, field_problem, fields_problem
from poolhouse.api.services import Services
from poolhouse.pipeline.control.filters import LIVE, Filter
from poolhouse.pipeline.tasks.records import Status

#: Matches that one call works on, at the most: some seconds of work.
MOST_AT_A_TIME = 1000
#: Matches that an answer shows.
SAMPLES = 10


def _check_moment(value: object) -> object:
    """Refuse what pydantic would take for a time, and the declared format does not allow: numbers, dates alone."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise ValueError("must be a time with its zone, such as 2030-01-31T08:00:00Z")
    return value


_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
#: A time that a filter names.
Moment = Annotated[AwareDatetime, BeforeValidator(_check_moment, json_schema_input_type=AwareDatetime)]


class Step(BaseModel):
    """One call of several: the next one goes on where this one ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dry_run: bool = Field(default=False, strict=True, description="Count the matches and change nothing.")
    page_size: int = Field(default=100, strict=True, ge=1, le=MOST_AT_A_TIME, description="Most matches of this call.")
    page_token: str | None = Field(
        default=None,
        max_length=2000,
        description="next_page_token of the call before. To repeat a call whose answer was lost does no harm.",
    )


class _Selection(Step):
    all: bool = Field(default=False, strict=True, description="Required where no filter is given.")

    @model_validator(mode="after")
    def _deliberate(self) -> Self:
        if self.chosen == Filter() and not self.all:
            raise ValueError('give at least one filter, or "all": true')
        return self

    @property
    def chosen(self) -> Filter:
        """What is meant."""
        raise NotImplementedError


class TaskSelection(_Selection):
    """Tasks that have not ended."""

    status: list[Literal["scheduled", "queued", "running"]] = Field(
        default=[], max_length=len(LIVE), description="Only tasks of these statuses; left out: all three."
    )
    task_type: str | None = Field(default=None, description="Only tasks of this type.")
    queue: str | None = Field(default=None, description="Only tasks of this queue.")
    submitted_before: Moment | None = Field(default=None, description="Only tasks submitted before this.")
    submitted_after: Moment | None = Field(default=None, description="Only tasks submitted then or later.")

    @property
    def chosen(self) -> Filter:
        return Filter(
            status=frozenset(Status(name) for name in self.status),
            task_type=self.task_type,
            queue=self.queue,
            before=self.submitted_before,
            after=self.submitted_after,
        )


class DeadLetterSelection(_Selection):
    """Dead letters."""

    task_type: str | None = Field(default=None, description="Only dead letters of this task type.")
    queue: str | None = Field(default=None, description="Only dead letters of this queue.")
    reason: str | None = Field(default=None, description="Only with this text in the reason, in any case.")
    died_before: Moment | None = Field(default=None, description="Only what died before this.")
    died_after: Moment | None = Field(default=None, description="Only what died then or later.")

    @property
    def chosen(self) -> Filter:
        return Filter(
            task_type=self.task_type,
            queue=self.queue,
            reason=self.reason,
            before=self.died_before,
            after=self.died_after,
        )


_Body = TypeVar("_Body", bound=Step)


async def read(kind: type[_Body], request: Request, services: Services) -> _Body:
    """Read a bulk call's body. Raises `Problem` with the fields that are wrong."""
    try:
        body = kind.model_validate(await bodies.read_optional_object(request))
    except ValidationError as error:
        raise fields_problem(field_errors(error)) from None
    check_queue(getattr(body, "queue", None), services)
    return body


def check_queue(queue: str | None, services: Services) -> None:
    """Raise `Problem` where a queue is named that pipeline.toml does not declare."""
    if queue is not None and queue not in services.topology.by_name:
        known = ", ".join(services.topology.by_name)
        raise field_problem("queue", f"there is no queue {queue[:100]!r} (queues: {known})")


def described(kind: type[Step]) -> dict[str, Any]:
    """The body in the OpenAPI document; all of it may be left out."""
    return {"requestBody": {"content": {"application/json": {"schema": kind.model_json_schema()}}}}
