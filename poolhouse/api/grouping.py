"""Submitting groups: the group first, then its members; an open one in batches, each noted so that none is missed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Future

from pydantic import BaseModel

from poolhouse.api.drafts import MAX_BATCH
from poolhouse.api.problems import Problem
from poolhouse.api.services import Services
from poolhouse.pipeline import names
from poolhouse.pipeline.errors import Conflict, ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.groups import members as group_members
from poolhouse.pipeline.groups.following import LinkedTasks
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.tasks.after_end import message_of
from poolhouse.pipeline.tasks.links import Planned


class _Key(BaseModel):
    """Which group belongs to an idempotency key."""

    group_id: str


async def submit(
    group: Group, members: Sequence[Planned], *, key: str | None, services: Services
) -> tuple[Group, bool]:
    """Keep a group and publish its members; returns the group, and whether a call with this key had made it before.

    Raises:
        Problem: 409, the key belongs to another body.
        ServiceUnavailable: the queue or the bucket is down; with a key the same call may be repeated.
    """
    groups = GroupStore(services.store)
    if key is not None:
        group = group.model_copy(update={"group_id": await _id_of_key(key, group, services)})
    kept = await services.threads.run(groups.create, group)
    if kept.body_sha256 != group.body_sha256:
        raise Problem(
            409,
            "Idempotency-Key was used with another body",
            detail=f"A call with this key made the group {kept.group_id}: use a new key for another group.",
        )
    await _publish(kept, members, offset=0, services=services)
    if kept.size == 0:
        await _follow_closed(kept, services)
    return kept, kept.created_at != group.created_at


async def add(group: Group, members: Sequence[Planned], *, offset: int, sha256: str, services: Services) -> None:
    """Publish some members of an open group, and note that.

    Raises:
        Conflict: the group takes no members, or has others at this offset.
        ServiceUnavailable: the queue or the bucket is down: the same call may be repeated.
    """
    if group.cancelled_at is not None:
        raise Conflict(f"group {group.group_id} is cancelled")
    name = f"{_batches(group.group_id)}{offset:06d}-{len(members):04d}"
    noted = await services.threads.run(_content, services.store, name)
    if noted is None:
        if group.size is not None:
            raise Conflict(f"group {group.group_id} is closed, with {group.size:,} members")
        await services.threads.run(_check_free, services.store, group.group_id, offset, len(members))
        await _publish(group, members, offset=offset, services=services)
        try:
            await services.threads.run(services.store.put, name, sha256.encode(), if_generation=ABSENT)
        except PreconditionFailed:  # our own write, its answer lost; or the same call twice at once
            noted = await services.threads.run(_content, services.store, name)
    if noted is not None and noted != sha256.encode():
        raise Conflict(f"group {group.group_id} has other members at offset {offset:,} already")


async def close(group_id: str, *, size: int, services: Services) -> Group:
    """Close an open group; where all of them have ended by now, the join is published.

    Raises:
        Conflict: members are missing, or were added twice, or it was closed with another size.
        ServiceUnavailable: the queue or the bucket is down: the same call may be repeated.
    """

    def closed(group: Group) -> Group:
        if group.size is not None and group.size != size:
            raise Conflict(f"group {group_id} is closed, with {group.size:,} members")
        if group.size is None:
            _check_whole(services.store, group_id, size)
        return group.model_copy(update={"size": size})

    group = await services.threads.run(GroupStore(services.store).change, group_id, closed)
    await _follow_closed(group, services)
    return group


async def _publish(group: Group, members: Sequence[Planned], *, offset: int, services: Services) -> None:
    ids = await services.task_ids()
    above_bytes = services.topology.payloads.inline_bytes

    def send(task: TaskMessage) -> Future[str]:
        return services.send_blocking(task.by_reference(above_bytes=above_bytes))

    now = services.clock()
    await services.threads.run(
        group_members.publish, group, members, offset=offset, submitted_at=now, send=send, task_ids=ids
    )


async def _follow_closed(group: Group, services: Services) -> None:
    ids = await services.task_ids()

    def follow() -> None:
        for follow_up in LinkedTasks(services.store, lambda: ids).of_closed(group):
            services.send_blocking(message_of(follow_up, submitted_at=services.clock())).result()

    await services.threads.run(follow)


async def _id_of_key(key: str, group: Group, services: Services) -> str:
    """The id of the group that belongs to a key: this one's, unless an earlier call has taken the key for another."""
    name = f"{names.IDEMPOTENCY}{hashlib.sha256(f'group {key}'.encode()).hexdigest()}.json"
    mine = _Key(group_id=group.group_id)
    try:
        await services.threads.run(services.store.put, name, mine.model_dump_json().encode(), if_generation=ABSENT)
    except PreconditionFailed:
        data, _ = await services.threads.run(services.store.get, name)
        return _Key.model_validate_json(data).group_id
    return mine.group_id


def _check_free(store: ObjectStore, group_id: str, offset: int, count: int) -> None:
    """Raise `Conflict` where some of these places have been given to members of another batch."""
    prefix = _batches(group_id)
    # A batch that reaches to here begins less than a whole one before; names sort as their offsets do.
    start = f"{prefix}{max(0, offset - MAX_BATCH + 1):06d}"
    for info in store.list(prefix, start=start).objects:
        first, _, others = info.name.removeprefix(prefix).partition("-")
        begin, end = int(first), int(first) + int(others)
        if begin >= offset + count:
            return
        if end > offset and (begin, end) != (offset, offset + count):
            raise Conflict(f"group {group_id} has members {begin:,} to {end - 1:,} already: go on at offset {end:,}")


def _check_whole(store: ObjectStore, group_id: str, size: int) -> None:
    """Raise `Conflict` unless each of the members was added once."""
    prefix, added, token = _batches(group_id), 0, None
    while True:
        page = store.list(prefix, page_token=token)
        for info in page.objects:
            offset, _, count = info.name.removeprefix(prefix).partition("-")
            if int(offset) != added:
                what = "are missing" if int(offset) > added else "were added twice"
                first, last = sorted((int(offset), added))
                raise Conflict(f"group {group_id}: the members {first:,} to {last - 1:,} {what}")
            added += int(count)
        token = page.next_token
        if token is None:
            break
    if added != size:
        raise Conflict(f"group {group_id}: {added:,} members were added, not {size:,}")


def _batches(group_id: str) -> str:
    return f"{names.GROUPS}{group_id}/batches/"


def _content(store: ObjectStore, name: str) -> bytes | None:
    try:
        return store.get(name)[0]
    except ObjectNotFound:
        return None
