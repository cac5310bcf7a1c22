"""`Idempotency-Key`: the same key gives the same task, however often and from wherever the call is repeated.

The key's object (`idempotency/SHA256.json`) is made before the message is published, with the precondition that there
is none, so of many calls one wins. It holds the task's id, so that a later call that has to publish again publishes the
same task, which workers recognise. `publishing_until` says until when another call may still be publishing. What came
of it is an object of its own (`idempotency/SHA256.json,end`): Cloud Storage takes one write per second of a name.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from poolhouse.api.access import CALLER
from poolhouse.api.drafts import Draft
from poolhouse.api.problems import Problem, field_problem
from poolhouse.api.services import Services
from poolhouse.api.uniqueness import TaskExists
from poolhouse.pipeline import names
from poolhouse.pipeline.config.api_access import ANONYMOUS
from poolhouse.pipeline.errors import (
    MessageRefused,
    ObjectNotFound,
    PoolhouseError,
    PreconditionFailed,
    QueueUnavailable,
    StoreUnavailable,
)
from poolhouse.pipeline.store import ABSENT

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
#: The header in the OpenAPI document.
PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
    "description": "Any text of the client's: the same key with the same body gives the same task, however often.",
}
#: Pause between looks at a key that another call is at, in seconds.
POLL_S = 0.1

_log = structlog.get_logger("poolhouse.api.idempotency")


class KeyRecord(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    body_sha256: str
    submitted_at: datetime
    #: Until when the call that made or took over the key may be publishing.
    publishing_until: datetime


class KeyEnd(BaseModel):
    """What came of a call that had a key."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    #: The generation of the key that it had.
    key: int
    #: Set once Pub/Sub has the message; empty where the bucket has the task until its time. None: the call failed, and
    #: the next one need not wait.
    message_id: str | None = None
    #: Whether the task can't be published as it is: the key is free again, also for another body.
    refused: bool = False


@dataclass(frozen=True)
class Held:
    """A key as it was found."""

    record: KeyRecord
    generation: int
    end: KeyEnd | None = None
    end_generation: int = ABSENT

    @property
    def message_id(self) -> str | None:
        """The id of the message; None where none is known to be published."""
        # A call that published it late, after another had taken the key over, published the same task.
        return self.end.message_id if self.end is not None and self.end.task_id == self.record.task_id else None

    @property
    def given_back(self) -> bool:
        """Whether the call that had it ended without a message."""
        return self.end is not None and self.end.key == self.generation and self.end.message_id is None


def key_of(request: Request) -> str | None:
    """Return the key of a call; None where it has none. Raises `Problem` where it can't be one.

    Each holder of an API key has keys of its own: what others have chosen neither meets them nor shows a task's id.
    """
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    if len(keys) > 1:
        raise field_problem(HEADER, "is sent more than once: send one key", status=400)
    key = keys[0]
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise field_problem(HEADER, f"must have 1 to {MAX_KEY_LENGTH} printable characters", status=400)
    caller = request.scope.get(CALLER, ANONYMOUS)
    return key if caller == ANONYMOUS else f"{caller}\n{key}"  # no key that a client sends has a line break


def fingerprint(draft: Draft) -> str:
    """The same for bodies that mean the same."""
    meaning: dict[str, Any] = {"task_type": draft.task_type, "queue": draft.queue, "payload": draft.sent}
    if draft.delay_s is not None:
        meaning["delay_s"] = draft.delay_s
    if draft.run_at is not None:
        meaning["run_at"] = draft.run_at.isoformat()
    if draft.then or draft.on_failure is not None:
        links = (*draft.then, *([] if draft.on_failure is None else [draft.on_failure]))
        meaning["links"] = [len(draft.then), *(link.model_dump(mode="json") for link in links)]
    if draft.unique is not None:
        meaning["unique"] = draft.unique.model_dump(mode="json")
    if draft.webhook_url is not None:
        meaning["webhook_url"] = draft.webhook_url
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class IdempotencyKeys:
    """The keys of a deployment."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._threads = services.threads
        self._clock = services.clock
        # Storage and message clocks may differ a little; a takeover too early costs a duplicate message, no more.
        self._publish_time = timedelta(seconds=services.settings.publish_timeout_s + 1)

    async def once(
        self,
        key: str,
        body_sha256: str,
        *,
        new_id: Callable[[datetime], str],
        publish: Callable[[KeyRecord], Awaitable[str]],
    ) -> tuple[KeyRecord, str, bool]:
        """Publish a task unless a call with this key has done so.

        Args:
            key: the client's key.
            body_sha256: the `fingerprint` of what is asked for.
            new_id: makes the task's id.
            publish: publishes the task of the record's id and time; returns the message id.

        Returns:
            The key's record, the message's id, and whether another call had published it.

        Raises:
            Problem: 409, the key belongs to another body.
            ServiceUnavailable: nothing is known to be published; the same call may be repeated.
        """
        name = f"{names.IDEMPOTENCY}{hashlib.sha256(key.encode()).hexdigest()}.json"
        now = self._clock()
        mine = KeyRecord(
            task_id=new_id(now),
            body_sha256=body_sha256,
            submitted_at=now,
            publishing_until=now + self._publish_time,
        )
        try:
            held = Held(mine, await self._write(name, mine, ABSENT))
        except PreconditionFailed:
            held = await self._take_over(name, mine)
            mine = held.record
            if held.message_id is not None:
                return mine, held.message_id, True
        end = KeyEnd(task_id=mine.task_id, key=held.generation)
        try:
            message_id = await publish(mine)
        except BaseException as error:
            # Another task is the answer to a unique one: the key is not used up by it.
            refused = isinstance(error, Problem | MessageRefused | TaskExists)
            # Where another has taken the key over and published, that stays.
            await self._end(name, end.model_copy(update={"refused": refused}), if_generation=held.end_generation)
            raise
        await self._end(name, end.model_copy(update={"message_id": message_id}), if_generation=None)
        return mine, message_id, False

    async def _take_over(self, name: str, mine: KeyRecord) -> Held:
        """The key: with a message id; or ours to publish, since no other call is publishing."""
        deadline = self._clock() + self._publish_time
        while True:
            held = await self._read(name)
            found = held.record
            if held.given_back and held.end is not None and held.end.refused:
                try:
                    return await self._again(name, mine, held)
                except PreconditionFailed:
                    continue
            if found.body_sha256 != mine.body_sha256:
                raise Problem(
                    409,
                    f"{HEADER} was used with another body",
                    detail=f"A call with this key submitted task {found.task_id}: use a new key for another task.",
                )
            now = self._clock()
            if held.message_id is not None or found.task_id == mine.task_id:  # our own write, its answer lost
                return held
            if held.given_back or found.publishing_until <= now:
                taken = found.model_copy(update={"publishing_until": now + self._publish_time})
                try:
                    return await self._again(name, taken, held)
                except PreconditionFailed:
                    continue
            if now >= deadline:
                raise QueueUnavailable("another call with this Idempotency-Key is still waiting for the queue")
            await asyncio.sleep(POLL_S)

    async def _again(self, name: str, record: KeyRecord, held: Held) -> Held:
        """Write the key for a call of its own, which has no end yet. Raises `PreconditionFailed`."""
        generation = await self._write(name, record, held.generation)
        return Held(record, generation, end_generation=held.end_generation)

    async def _read(self, name: str) -> Held:
        try:
            data, info = await self._threads.run(self._store.get, name)
        except ObjectNotFound:
            raise StoreUnavailable("the idempotency key was deleted just now") from None
        try:
            record = KeyRecord.model_validate_json(data)
        except ValidationError as error:
            raise StoreUnavailable(f"{name} is not an idempotency key: delete it ({error})") from None
        try:
            data, end = await self._threads.run(self._store.get, _end_of(name))
        except ObjectNotFound:
            return Held(record, info.generation)
        try:
            return Held(record, info.generation, KeyEnd.model_validate_json(data), end.generation)
        except ValidationError as error:
            raise StoreUnavailable(f"{_end_of(name)} is not the end of a call: delete it ({error})") from None

    async def _write(self, name: str, record: KeyRecord, generation: int) -> int:
        return await self._threads.run(
            self._store.put, name, record.model_dump_json().encode(), if_generation=generation
        )

    async def _end(self, name: str, end: KeyEnd, *, if_generation: int | None) -> None:
        """Record what came of the call. Never raises: a repeated call would publish the same task again."""
        try:
            await self._threads.run(
                self._store.put, _end_of(name), end.model_dump_json().encode(), if_generation=if_generation
            )
        except PoolhouseError as error:
            _log.warning("what came of an idempotency key could not be recorded", task_id=end.task_id, error=str(error))


def _end_of(name: str) -> str:
    return f"{name},end"
