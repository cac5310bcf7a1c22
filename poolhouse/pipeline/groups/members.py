"""The members of a group that a handler made: kept in chunks until they are published.

A handler writes the chunks, its task's final record names the group, and then the chunks are published, each deleted
once Pub/Sub has its members. So the chunks that are there are those still to be published, whatever crashed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime

from pydantic import BaseModel

from poolhouse.pipeline import names, pieces
from poolhouse.pipeline.errors import ObjectNotFound
from poolhouse.pipeline.groups.group import MAX_MEMBERS, Group
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.links import Links, Planned
from poolhouse.pipeline.tasks.task_ids import TaskIds

#: Members of one chunk, and bytes of them, at the most; a single member may have more.
CHUNK_MEMBERS, CHUNK_BYTES = 500, 2_000_000


#: Sends a task to its queue: what the future gives does not matter.
Send = Callable[[TaskMessage], Future[str]]


class Chunk(BaseModel):
    """Some members in a row."""

    offset: int
    members: tuple[Planned, ...]


def write(store: ObjectStore, group_id: str, members: Iterable[Planned], *, written_by: int, max_bytes: int) -> int:
    """Keep the members of a group, however many, a chunk at a time in memory; returns how many there are.

    Args:
        written_by: the attempt that writes them: what another one left behind is not mixed with it.
        max_bytes: the size of a payload, as JSON, at the most.

    Raises:
        ValueError: there are more than a group may have, or one of them is larger than a payload may be.
        StoreUnavailable: storage does not answer.
    """
    offset = size = 0
    encoded: list[str] = []
    for member in members:
        if offset + len(encoded) == MAX_MEMBERS:
            raise ValueError(f"a group has {MAX_MEMBERS:,} members at the most: submit several groups")
        text = member.model_dump_json(exclude_defaults=True)
        if len(text) > max_bytes:
            number = offset + len(encoded)
            raise ValueError(
                f"member {number} ({member.task_type}) is larger than the {max_bytes:,} bytes of a payload"
            )
        if encoded and (len(encoded) == CHUNK_MEMBERS or size + len(text) > CHUNK_BYTES):
            _put(store, group_id, offset, encoded, written_by)
            offset, size, encoded = offset + len(encoded), 0, []
        size += len(text)
        encoded.append(text)
    if encoded:
        _put(store, group_id, offset, encoded, written_by)
    return offset + len(encoded)


def publish(
    group: Group,
    members: Sequence[Planned],
    *,
    offset: int,
    submitted_at: datetime,
    send: Send,
    task_ids: TaskIds,
) -> None:
    """Publish members of a group, from the one at `offset` on; again, where they have been published, does no harm.

    Args:
        submitted_at: now, and not when the group was made: a purge in between does not mean them.

    Raises:
        ServiceUnavailable: the queue does not take all of them.
    """
    sent = [
        send(message(group, member, index=index, submitted_at=submitted_at, task_ids=task_ids))
        for index, member in enumerate(members, offset)
    ]
    for future in sent:
        future.result()


def message(group: Group, member: Planned, *, index: int, submitted_at: datetime, task_ids: TaskIds) -> TaskMessage:
    """The message of a member."""
    return TaskMessage(
        task_id=task_ids.in_group(group.group_id, index),
        task_type=member.task_type,
        submitted_at=submitted_at,
        queue=member.queue,
        payload=member.payload,
        links=Links(
            parent_id=group.parent_id, group_id=group.group_id, group_index=index, on_failure=member.on_failure
        ),
    )


def publish_chunks(group: Group, store: ObjectStore, *, submitted_at: datetime, send: Send, task_ids: TaskIds) -> None:
    """Publish what is left of the chunks that a handler wrote.

    Raises:
        ServiceUnavailable: the queue or the bucket is down; call it again.
    """
    for name in list(_chunks(store, f"{names.GROUPS}{group.group_id}/members/{group.written_by}-")):
        try:
            data, _ = store.get(name)
        except ObjectNotFound:
            continue  # published by another worker, which has a duplicate of the parent's message
        chunk = Chunk.model_validate_json(data)
        publish(group, chunk.members, offset=chunk.offset, submitted_at=submitted_at, send=send, task_ids=task_ids)
        store.delete(name)


def _put(store: ObjectStore, group_id: str, offset: int, encoded: Sequence[str], written_by: int) -> None:
    name = f"{names.GROUPS}{group_id}/members/{written_by}-{offset:06d}.json"
    data = f'{{"offset":{offset},"members":[{",".join(encoded)}]}}'.encode()
    pieces.write(store, name, data)


def _chunks(store: ObjectStore, prefix: str) -> Iterator[str]:
    token: str | None = None
    while True:
        page = store.list(prefix, page_token=token)
        yield from (info.name for info in page.objects)
        token = page.next_token
        if token is None:
            return
