"""A dead letter, its summary, and what becomes of a message that may be one."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.json_values import Text
from poolhouse.pipeline.tasks.records import Attempt, TaskRecord


class DeadLetter(BaseModel):
    """One message that failed for good."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    task_type: str
    queue: str
    reason: Text
    died_at: datetime
    message_id: str
    published_at: datetime
    #: The original body; `data_base64` instead where it is not UTF-8.
    data: str | None = None
    data_base64: str | None = None
    attributes: dict[str, str]
    attempts: tuple[Attempt, ...] = ()

    def body(self) -> bytes:
        """The original body, byte for byte."""
        return base64.b64decode(self.data_base64) if self.data_base64 is not None else (self.data or "").encode()


class StoredLetter(DeadLetter):
    """A dead letter as it is stored."""

    #: Until when a replay or discard may be at it, and which one.
    claimed_until: datetime | None = None
    claim: str | None = None


class Kept(Enum):
    """What became of a message of a dead-letter subscription."""

    #: It is a dead letter.
    KEPT = auto()
    #: Its task has ended well, was cancelled, replayed or discarded meanwhile: nothing is kept.
    OVER = auto()
    #: Pub/Sub gave it up, but its task has attempts left: it is to go back to its queue.
    BACK = auto()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be done with a message of a dead-letter subscription."""

    kept: Kept
    task_id: str
    #: Attributes to send it back with.
    attributes: Mapping[str, str]
    #: The record of the dead task, where one is kept.
    record: TaskRecord | None = None
    #: Whether it is this message that ended the record: a worker that gave the task up had done so before.
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class DeadLetterSummary:
    """The summary of a dead letter in a listing, without reading it."""

    task_id: str
    task_type: str
    queue: str
    reason: str
    died_at: str


@dataclass(frozen=True)
class DeadLetterPage:
    """One page of summaries; `next_token` is None on the last."""

    dead_letters: tuple[DeadLetterSummary, ...]
    next_token: str | None


def body_fields(data: bytes) -> dict[str, str]:
    """Return the fields of a `DeadLetter` that hold a message's body."""
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}
