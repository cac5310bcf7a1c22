"""Following a task: server-sent events of its status and progress, until it has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse

from poolhouse.api.routes.tasks import find
from poolhouse.api.services import Provided, Services
from poolhouse.api.strict_query import StrictQueryRoute
from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.store import ABSENT
from poolhouse.pipeline.tasks.record_store import Stored
from poolhouse.pipeline.tasks.records import Status

#: Pause between two looks at a task's record, in seconds, however many follow it.
POLL_S = 1.0
#: A comment is sent after this many seconds of silence, so that no proxy closes the connection.
HEARTBEAT_S = 15.0
#: How soon a browser connects again, in milliseconds.
RETRY_MS = 2000

router = APIRouter(tags=["tasks"], route_class=StrictQueryRoute)
_log = structlog.get_logger("poolhouse.api.routes.events")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A task at one generation of its record."""

    generation: int
    status: Status
    attempt: int
    data: dict[str, Any]

    def event(self, before: Snapshot | None) -> bytes:
        """The event with what changed since `before`."""
        same = before is not None and (before.status, before.attempt) == (self.status, self.attempt)
        name = "progress" if same else "status"
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        return f"id: {self.generation}\nevent: {name}\ndata: {data}\n\n".encode(errors="replace")

    def tells_more_than(self, before: Snapshot | None) -> bool:
        """Whether a client would see a difference: a lease that was extended is none."""
        return before is None or {**self.data, "updated_at": ""} != {**before.data, "updated_at": ""}


@dataclass
class _Watch:
    """One task that a client follows."""

    latest: Snapshot
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    polling: asyncio.Task[None] | None = None

    def tell(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self.changed.set()
        self.changed = asyncio.Event()


class TaskEvents:
    """The tasks that are followed: each is polled once for all who follow it."""

    def __init__(self, services: Services, *, poll_s: float = POLL_S, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._services = services
        self._poll_s = poll_s
        self._heartbeat_s = heartbeat_s
        self._watches: dict[str, _Watch] = {}
        self._closing = False

    def close(self) -> None:
        """End every stream: the service stops, and browsers connect to the next one by themselves."""
        self._closing = True
        for watch in self._watches.values():
            watch.changed.set()

    async def follow(self, task_id: str, first: Snapshot, *, last_seen: str | None) -> AsyncIterator[bytes]:
        """The events of a task, from its present state on; that too is left out if it is the last one seen."""
        watch = self._watches.get(task_id)
        if watch is None:
            watch = self._watches[task_id] = _Watch(first)
            if not first.status.final:
                watch.polling = asyncio.create_task(self._poll(task_id, watch), name=f"events of {task_id}")
        watch.listeners += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            seen: Snapshot | None = None
            if last_seen == str(watch.latest.generation):
                seen = watch.latest
            while not self._closing:
                changed, latest = watch.changed, watch.latest
                if latest is not seen and latest.tells_more_than(seen):
                    yield latest.event(seen)
                seen = latest
                if latest.status.final:
                    return
                if watch.latest is not latest:
                    continue
                try:
                    async with asyncio.timeout(self._heartbeat_s):
                        await changed.wait()
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            watch.listeners -= 1
            if not watch.listeners:
                self._watches.pop(task_id, None)
                if watch.polling is not None:
                    watch.polling.cancel()

    async def _poll(self, task_id: str, watch: _Watch) -> None:
        services = self._services
        while not watch.latest.status.final:
            await asyncio.sleep(self._poll_s)
            try:
                generation = await services.threads.run(services.records.generation, task_id)
                if generation not in {ABSENT, watch.latest.generation}:
                    watch.tell(snapshot(task_id, await find(task_id, services)))
            except PoolhouseError as error:  # the next look may do better; the connection stays
                _log.info("a followed task could not be looked at", task_id=task_id, error=str(error))


def snapshot(task_id: str, found: Any) -> Snapshot:
    """A task as `poolhouse.api.routes.tasks.find` gives it."""
    if not isinstance(found, Stored):
        data = {"task_id": task_id, "status": Status.QUEUED, "attempt": 0, "submitted_at": found.isoformat()}
        return Snapshot(generation=ABSENT, status=Status.QUEUED, attempt=0, data=data)
    record = found.record
    public = record.model_dump(
        mode="json",
        include={"task_id", "status", "progress", "reason", "submitted_at", "updated_at", "cancel_requested_at"},
        exclude_none=True,
    )
    return Snapshot(
        generation=found.generation,
        status=record.status,
        attempt=record.last_attempt,
        data={**public, "attempt": record.last_attempt},
    )


@router.get(
    "/tasks/{task_id}/events",
    summary="Follow a task",
    responses={200: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}},
)
async def follow_task(
    task_id: str,
    request: Request,
    services: Provided,
    last_event_id: Annotated[str | None, Header(description="Sent by browsers that connect again.")] = None,
) -> Response:
    """Events `status` and `progress`, whose data has task_id, status, attempt, progress, …; ends with the task."""
    first = snapshot(task_id, await find(task_id, services))
    events: TaskEvents = request.app.state.events
    return StreamingResponse(
        events.follow(task_id, first, last_seen=last_event_id),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )
