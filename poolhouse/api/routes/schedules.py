"""Schedules: listed, paused, resumed, run by hand; and run at their times by a scheduler that calls from outside."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from poolhouse.api.answers import json_answer
from poolhouse.api.problems import Problem, field_problem
from poolhouse.api.routes.submissions import Submitted
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.index.database import TaskQuery
from poolhouse.pipeline.messaging.message import parse_time
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.timing.cron import next_due
from poolhouse.pipeline.timing.schedules import Schedules, ScheduleState, due_time_problem, problem_of, queue_of

#: Name of this process in the claims that it makes.
_OWNER = f"api-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"

router = APIRouter(tags=["schedules"], route_class=StrictQueryRoute)


class ScheduleRun(BaseModel):
    """One run of a schedule."""

    model_config = ConfigDict(from_attributes=True)

    task_id: str
    due_at: datetime = Field(description="The time of the cron expression; of a run by hand, the time of the call.")
    by_hand: bool
    published_at: datetime | None = Field(description="Null while it is unknown whether the queue has the task.")


class ScheduleView(BaseModel):
    """A schedule of pipeline.toml and what is remembered of it."""

    name: str
    cron: str
    time_zone: str
    task_type: str
    queue: str
    payload: dict[str, Any]
    missed_runs: Literal["skip", "once"]
    paused_at: datetime | None = Field(description="Since when it is paused; null while it runs.")
    next_due_at: datetime | None = Field(description="Null while it is paused, or where it can't run.")
    last_run: ScheduleRun | None
    problem: str | None = Field(description="Why its tasks can't be submitted, where they can't.")
    by_status: dict[Status, int] | None = Field(
        default=None, description="The tasks that it submitted, counted by status, where `count` was asked for."
    )


class ScheduleList(BaseModel):
    """The schedules, in the order of pipeline.toml."""

    schedules: list[ScheduleView]


class ScheduleOutcome(BaseModel):
    """What a due time came to."""

    status: Literal["submitted", "skipped"]
    run: ScheduleRun | None = None


@router.get("/schedules", response_model=ScheduleList, summary="The schedules")
async def list_schedules(
    services: Provided,
    count: Annotated[bool, Query(description="Whether the tasks of each are counted, in `by_status`.")] = False,
) -> Response:
    """With their next due time and their last run."""
    schedules = await _schedules(services)
    views = []
    for schedule in schedules.declared:
        state, unreadable = None, None
        try:
            known = await services.threads.run(schedules.read, schedule.name)
            state = None if known is None else known.state
        except ConfigError as error:
            unreadable = str(error)
        view = _view(schedule, state, schedules, services, problem=unreadable)
        if count:
            submitted = TaskQuery(schedule=schedule.name)
            view["by_status"] = await services.threads.run(services.index.counts, submitted)
        views.append(view)
    return json_answer({"schedules": views})


@router.post("/schedules/{name}:pause", response_model=ScheduleView, summary="Pause a schedule")
async def pause_schedule(name: str, services: Provided) -> Response:
    """It runs no more until it is resumed; pausing it again changes nothing."""
    schedules = await _schedules(services)
    schedule = schedules.named(name)
    state = await services.on_state(schedules.pause, name, now=services.clock())
    return json_answer(_view(schedule, state, schedules, services))


@router.post("/schedules/{name}:resume", response_model=ScheduleView, summary="Resume a schedule")
async def resume_schedule(name: str, services: Provided) -> Response:
    """What was due meanwhile is not made up for."""
    schedules = await _schedules(services)
    schedule = schedules.named(name)
    state = await services.on_state(schedules.resume, name, now=services.clock())
    return json_answer(_view(schedule, state, schedules, services))


@router.post("/schedules/{name}:run", response_model=Submitted, status_code=202, summary="Run a schedule now")
async def run_schedule(name: str, services: Provided) -> Response:
    """Submits its task once, even while it is paused; its times stay as they are."""
    schedules = await _schedules(services)
    _check(schedules.named(name), services)
    task_id, message_id = await services.threads.run(schedules.run, name, now=services.clock())
    answer = {"task_id": task_id, "message_id": message_id, "status": "submitted"}
    return json_answer(answer, 202, headers={"location": f"/tasks/{task_id}"})


@router.post("/schedules/{name}:due", response_model=ScheduleOutcome, summary="A due time has come")
async def schedule_due(
    name: str,
    services: Provided,
    due_at: Annotated[
        str | None, Header(alias="X-CloudScheduler-ScheduleTime", description="The due time; left out: now.")
    ] = None,
) -> Response:
    """For a scheduler outside, such as Cloud Scheduler: submits the task of that due time once, however often called.

    A schedule that is paused, or whose due time is dealt with, is answered with `skipped`.
    """
    schedules = await _schedules(services)
    schedule = schedules.named(name)
    _check(schedule, services)
    now = services.clock()
    try:
        at = now if due_at is None else parse_time(due_at).astimezone(UTC)
    except (ValueError, OverflowError):
        raise field_problem("X-CloudScheduler-ScheduleTime", "is not an ISO 8601 time of this era") from None
    absurd = due_time_problem(at, now=now)
    if absurd is not None:
        raise field_problem("X-CloudScheduler-ScheduleTime", absurd)
    run = await services.on_state(schedules.run_at, name, due_at=at, now=now)
    outcome = ScheduleOutcome(status="skipped")
    if run is not None:
        outcome = ScheduleOutcome(status="submitted", run=ScheduleRun.model_validate(run))
    return json_answer(outcome.model_dump(mode="json", exclude_none=True))


async def _schedules(services: Services) -> Schedules:
    return Schedules(
        services.store,
        topology=services.topology,
        task_ids=await services.task_ids(),
        publisher=services.publisher,
        queue_of=partial(queue_of, task_types=services.registry, topology=services.topology),
        owner=_OWNER,
        hooks=services.hooks,
    )


def _check(schedule: Schedule, services: Services) -> None:
    problem = problem_of(schedule, services.registry)
    if problem is not None:
        raise Problem(409, f"schedule {schedule.name} can't run: {problem}", detail="Mend it in pipeline.toml.")


def _view(
    schedule: Schedule,
    state: ScheduleState | None,
    schedules: Schedules,
    services: Services,
    *,
    problem: str | None = None,
) -> dict[str, Any]:
    problem = problem or problem_of(schedule, services.registry)
    paused_at = None if state is None else state.paused_at
    stopped = paused_at is not None or problem is not None
    view = ScheduleView(
        name=schedule.name,
        cron=schedule.cron,
        time_zone=schedule.time_zone,
        task_type=schedule.task_type,
        queue=schedules.queue_of(schedule),
        payload=schedule.payload,
        missed_runs=schedule.missed_runs,
        paused_at=paused_at,
        next_due_at=None if stopped else next_due(schedule, after=services.clock()),
        last_run=ScheduleRun.model_validate(state.last_run) if state is not None and state.last_run else None,
        problem=problem,
    )
    return view.model_dump(mode="json", exclude_unset=True)
