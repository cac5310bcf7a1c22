"""Groups: submitted in one call or in batches, looked at, cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from poolhouse.api import bodies, grouping, idempotency
from poolhouse.api.answers import json_answer
from poolhouse.api.drafts import MAX_BATCH, planned
from poolhouse.api.problems import field_problem
from poolhouse.api.routes.tasks import cancel, request_cancel
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.errors import Conflict, GroupNotFound, InvalidName
from poolhouse.pipeline.groups import counts
from poolhouse.pipeline.groups.group import FAILURE, JOIN, MAX_MEMBERS, Group, WaitFor
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.index.database import TaskQuery
from poolhouse.pipeline.names import check_task_id
from poolhouse.pipeline.numbers import Whole
from poolhouse.pipeline.tasks.links import Link, Planned
from poolhouse.pipeline.tasks.records import Status
from poolhouse.worker.plans import Place, plan

#: Groups of one page, at the most: each is a read.
MOST_LISTED = 100

router = APIRouter(tags=["groups"], route_class=StrictQueryRoute)

GroupStatus = Literal["open", "running", "waiting", "ended", "cancelled"]


class NewGroupAnswer(BaseModel):
    """A group whose members Pub/Sub has; or an open one, which waits for them."""

    group_id: str = Field(description="The group's id: GET /groups/{id} tells how it gets on.")
    status: Literal["submitted", "open"]
    size: int | None = Field(default=None, description="How many members; absent while it is open.")
    join_task_id: str | None = Field(default=None, description="The id that the task of `then` will have.")
    failure_task_id: str | None = Field(default=None, description="The id that the task of `on_failure` would have.")


class AddedMembers(BaseModel):
    """Members that Pub/Sub has."""

    group_id: str
    offset: int
    count: int


class FollowingTask(BaseModel):
    """A task that follows the members of a group."""

    task_id: str
    task_type: str
    status: Status | Literal["waiting", "not_needed"] = Field(
        description="`waiting` until it is due; `not_needed` where it never will be: no member has failed, or the "
        "group is cancelled."
    )


class GroupAnswer(BaseModel):
    """How a group gets on."""

    group_id: str
    status: GroupStatus = Field(
        description="`open`: members are still being added; `waiting`: all members have ended, and dead ones wait for "
        "a replay or a discard; `ended`: the join waits for none of them any more."
    )
    size: int | None = Field(default=None, description="How many members; absent while it is open.")
    counts: dict[Status, int] = Field(description="The members by status.")
    settled: int = Field(description="Members that the join waits no longer for.")
    wait_for: WaitFor
    created_at: datetime
    cancelled_at: datetime | None = None
    parent_id: str | None = Field(default=None, description="The task whose handler made the group.")
    then: FollowingTask | None = None
    on_failure: FollowingTask | None = None


class ListedGroup(BaseModel):
    """What a listing tells of a group."""

    group_id: str
    created_at: datetime
    size: int | None = Field(default=None, description="How many members; absent while it is open.")
    cancelled_at: datetime | None = None
    parent_id: str | None = Field(default=None, description="The task whose handler made the group.")
    counts: dict[Status, int] = Field(
        description="The members that the index of tasks has, by status: some seconds ago."
    )


class GroupPage(BaseModel):
    """A page of groups, the newest first."""

    groups: list[ListedGroup]
    next_page_token: str | None = Field(description="Send it as page_token for the next page; null on the last.")


class CancelledGroup(BaseModel):
    """A group that is cancelled."""

    group_id: str
    status: Literal["cancelled"] = "cancelled"
    notified: int = Field(description="Running members whose handlers are notified; others never start.")


@router.post(
    "/groups",
    response_model=NewGroupAnswer,
    status_code=202,
    summary="Submit a group: tasks with a join",
    openapi_extra={"parameters": [idempotency.PARAMETER]},
)
async def create_group(request: Request, services: Provided) -> Response:
    """Up to 1,000 tasks at once. For more, `"open": true` makes an empty group: `:add` members, then `:close` it."""
    body = await bodies.read_object(request)
    _check_names(body, {"tasks", "open", "then", "on_failure", "wait_for"})
    opened = body.get("open", False)
    if not isinstance(opened, bool):
        raise field_problem("open", "must be true or false")
    if opened and "tasks" in body:
        raise field_problem("tasks", "an open group is made without: :add them, then :close it")
    wait_for = body.get("wait_for", "succeeded")
    if wait_for not in get_args(WaitFor):
        raise field_problem("wait_for", f"must be one of {', '.join(get_args(WaitFor))}")
    then, on_failure = _following(body, services)
    members = () if opened else await bodies.off_loop(request, _members, body, services, least=0)
    now = services.clock()
    group = Group(
        group_id=(await services.task_ids()).new_group(now),
        created_at=now,
        size=None if opened else len(members),
        wait_for=wait_for,
        then=then,
        on_failure=on_failure,
        body_sha256=_sha256(body),
    )
    group, repeated = await grouping.submit(group, members, key=idempotency.key_of(request), services=services)
    answer = NewGroupAnswer(
        group_id=group.group_id,
        status="open" if opened else "submitted",
        size=group.size,
        **await _ids(group, services),
    ).model_dump(exclude_none=True)
    headers = {"location": f"/groups/{group.group_id}", **({"idempotency-replayed": "true"} if repeated else {})}
    return json_answer(answer, 202, headers=headers)


@router.post("/groups/{group_id}:add", response_model=AddedMembers, summary="Add up to 1,000 members to an open group")
async def add_members(group_id: str, request: Request, services: Provided) -> Response:
    """`offset` is how many members come before these. The same call again, after an answer that was lost, adds none."""
    body = await bodies.read_object(request)
    _check_names(body, {"offset", "tasks"})
    offset = body.get("offset")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < MAX_MEMBERS:
        raise field_problem("offset", f"must be a whole number from 0 to {MAX_MEMBERS - 1:,}")
    members = await bodies.off_loop(request, _members, body, services, least=1)
    if offset + len(members) > MAX_MEMBERS:
        raise field_problem("tasks", f"a group has {MAX_MEMBERS:,} members at the most")
    group = await _read(group_id, services)
    await grouping.add(group, members, offset=offset, sha256=_sha256(body["tasks"]), services=services)
    return json_answer({"group_id": group_id, "offset": offset, "count": len(members)})


@router.post("/groups/{group_id}:close", response_model=GroupAnswer, summary="Close an open group")
async def close_group(group_id: str, request: Request, services: Provided) -> Response:
    """The join runs once all of them have ended, which may be at once. The same call again changes nothing."""
    body = await bodies.read_object(request)
    _check_names(body, {"size"})
    size = body.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_MEMBERS:
        raise field_problem("size", f"must be a whole number from 0 to {MAX_MEMBERS:,}: how many members there are")
    await _read(group_id, services)
    group = await grouping.close(group_id, size=size, services=services)
    return json_answer(await _shown(group, services))


@router.get("/groups", response_model=GroupPage, summary="The groups, newest first")
async def list_groups(
    services: Provided,
    page_size: Annotated[Whole, Query(ge=1, le=MOST_LISTED)] = 20,
    page_token: Annotated[str | None, Query(max_length=128, description="next_page_token of the page before.")] = None,
) -> Response:
    """A list call, and a read for each group; the members are counted in the index of tasks."""
    groups, following = await services.threads.run(_newest, services, page_size, page_token)
    page = GroupPage(groups=groups, next_page_token=following)
    return json_answer(page.model_dump(mode="json", exclude_none=True) | {"next_page_token": following})


@router.get("/groups/{group_id}", response_model=GroupAnswer, summary="One group, its members counted by status")
async def get_group(group_id: str, services: Provided) -> Response:
    """A list call for each 500 members."""
    return json_answer(await _shown(await _read(group_id, services), services))


@router.post(
    "/groups/{group_id}:cancel",
    response_model=CancelledGroup,
    summary="Cancel a group",
    responses={409: {"description": "Its join has ended already."}},
)
async def cancel_group(group_id: str, request: Request, services: Provided) -> Response:
    """No further member starts, nor the join.

    Running members are notified: their handlers see it at the next checkpoint. Those that wait become `cancelled` when
    their turn comes; a worker may start some for two seconds more, which run to their end.
    """
    group = await _read(group_id, services)
    ids = await services.task_ids()
    join = await _status(ids.in_group(group_id, JOIN), services)
    if join is not None and join.final and join is not Status.CANCELLED:
        raise Conflict(f"group {group_id} has ended: its join is {join}")
    now = services.clock()
    group = await services.threads.run(
        GroupStore(services.store).change,
        group_id,
        lambda found: found.model_copy(update={"cancelled_at": found.cancelled_at or now}),
    )
    running = await services.threads.run(
        lambda: [each.task_id for each in counts.members(group, services.store, ids) if each.status is Status.RUNNING]
    )
    notified = await asyncio.gather(*(_notify(task_id, services) for task_id in running))
    return json_answer({"group_id": group_id, "status": "cancelled", "notified": sum(notified)})


async def _notify(task_id: str, services: Services) -> bool:
    try:
        await cancel(task_id, services, partial(request_cancel, task_id=task_id))
    except Conflict:
        return False  # it has ended meanwhile
    return True


def _newest(services: Services, most: int, after: str | None) -> tuple[list[ListedGroup], str | None]:
    if after is not None:
        try:
            check_task_id(after)
        except InvalidName:
            raise InvalidName("page_token: this is no token of such a listing") from None
    groups, following = GroupStore(services.store).newest(most=most, after=after)
    return [
        ListedGroup(
            group_id=group.group_id,
            created_at=group.created_at,
            size=group.size,
            cancelled_at=group.cancelled_at,
            parent_id=group.parent_id,
            counts={
                Status(name): number for name, number in services.index.counts(TaskQuery(group=group.group_id)).items()
            },
        )
        for group in groups
    ], following


async def _read(group_id: str, services: Services) -> Group:
    try:
        check_task_id(group_id)
    except InvalidName as error:
        raise GroupNotFound(f"there is no group of that id: {error}") from None
    return await services.threads.run(GroupStore(services.store).read, group_id)


async def _shown(group: Group, services: Services) -> dict[str, Any]:
    ids = await services.task_ids()
    found = await services.threads.run(counts.count, group, services.store, ids)
    shown: dict[str, Any] = {
        "group_id": group.group_id,
        "status": _group_status(group, found),
        "size": group.size,
        "counts": found.by_status,
        "settled": found.settled,
        "wait_for": group.wait_for,
        "created_at": group.created_at,
        "cancelled_at": group.cancelled_at,
        "parent_id": group.parent_id,
    }
    for name, link, place in (("then", group.then, JOIN), ("on_failure", group.on_failure, FAILURE)):
        if link is not None:
            task_id = ids.in_group(group.group_id, place)
            status = await _status(task_id, services) or (
                "not_needed" if _never_due(group, found, place) else "waiting"
            )
            shown[name] = {"task_id": task_id, "task_type": link.task_type, "status": status}
    return GroupAnswer.model_validate(shown).model_dump(mode="json", exclude_none=True)


def _never_due(group: Group, found: counts.Counts, place: int) -> bool:
    """Whether a task that follows the group, and has not begun, will not: the group is cancelled, or none failed."""
    if group.cancelled_at is not None:
        return True
    failed = any(found.by_status.get(status) for status in (Status.FAILED, Status.DEAD))
    return place == FAILURE and _group_status(group, found) == "ended" and not failed


def _group_status(group: Group, found: counts.Counts) -> GroupStatus:
    if group.cancelled_at is not None:
        return "cancelled"
    if group.size is None:
        return "open"
    if found.settled == group.size:
        return "ended"
    going_on = sum(count for status, count in found.by_status.items() if not status.final)
    return "running" if going_on else "waiting"


async def _status(task_id: str, services: Services) -> Status | None:
    summary = await services.threads.run(services.records.summary, task_id)
    return None if summary is None else summary.status


async def _ids(group: Group, services: Services) -> dict[str, str]:
    ids = await services.task_ids()
    named = {"join_task_id": (group.then, JOIN), "failure_task_id": (group.on_failure, FAILURE)}
    return {name: ids.in_group(group.group_id, place) for name, (link, place) in named.items() if link is not None}


def _members(body: Mapping[str, Any], services: Services, *, least: int) -> Sequence[Planned]:
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise field_problem("tasks", "is required" if tasks is None else "must be an array")
    if not least <= len(tasks) <= MAX_BATCH:
        raise field_problem("tasks", f"must have {least} to {MAX_BATCH:,} tasks, not {len(tasks):,}: see :add for more")
    return [
        planned(plan, task, Place.MEMBER, services.registry, services.topology, field=f"tasks.{index}")
        for index, task in enumerate(tasks)
    ]


def _following(body: Mapping[str, Any], services: Services) -> tuple[Planned | None, Link | None]:
    read = (plan, services.registry, services.topology)
    then, failure = (
        None if body.get(name) is None else planned(read[0], body[name], place, read[1], read[2], field=name)
        for name, place in (("then", Place.JOIN), ("on_failure", Place.FAILURE))
    )
    return then, failure


def _check_names(body: Mapping[str, Any], known: set[str]) -> None:
    other = next((name for name in body if name not in known), None)
    if other is not None:
        raise field_problem(other, "there is no such field")


def _sha256(value: Any) -> str:
    """The same for bodies that are the same JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
