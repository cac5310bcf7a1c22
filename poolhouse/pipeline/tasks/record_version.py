"""Which of a task's objects is the truth, and the version of a record that a write may be conditional on. Pure.

Cloud Storage takes one write per second of an object's name (Cloud Storage, Quotas and limits), and a short task is
claimed and ended within milliseconds. So a record has objects of its own for its two kinds of change:

- the *claim*, `tasks/ID.json,claim`: every change but the end of an attempt. Calls that start, cancel, move or
  revive a waiting task compete for its generation.
- the *record*, `tasks/ID.json`: the end of an attempt. A worker that lost its task and one that took it over compete
  for its generation.

Each change of the one to the other counts `step` up, so the object with the higher step is the truth; and a claim names
the generation of the record that it follows, which the end of its attempt replaces. The third object, `tasks/ID.json,
submitted`, is what a submit call wrote before any worker had the task; the others count before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from poolhouse.pipeline.store import ABSENT, ObjectInfo
from poolhouse.pipeline.tasks.records import Status

_BITS = 64
_MASK = (1 << _BITS) - 1


class Version(NamedTuple):
    """What a record stands on: the next write competes for one of these generations."""

    step: int = 0
    #: Whether an attempt is in hand: its end is written to the record, everything else to the claim.
    running: bool = False
    record: int = ABSENT
    claim: int = ABSENT
    submitted: int = ABSENT

    @property
    def number(self) -> int:
        """All of it in one number; `ABSENT` for the version of no record at all."""
        number = 0
        for part in (self.submitted, self.claim, self.record, self.step):
            number = number << _BITS | part
        return number << 1 | self.running

    @classmethod
    def of(cls, number: int) -> Self:
        """The version that has this number."""
        rest, parts = number >> 1, []
        for _ in range(4):
            parts.append(rest & _MASK)
            rest >>= _BITS
        step, record, claim, submitted = parts
        return cls(step, bool(number & 1), record, claim, submitted)


@dataclass(frozen=True)
class Mark:
    """What decides between a task's objects, of one of them."""

    generation: int
    status: Status
    step: int = 0
    #: Of a claim: the generation of the record that it follows.
    follows: int = ABSENT

    @classmethod
    def on(cls, info: ObjectInfo) -> Self:
        """The mark in an object's metadata."""
        metadata = info.metadata
        return cls(
            info.generation,
            Status(metadata.get("status", Status.QUEUED)),
            int(metadata.get("step", 0)),
            int(metadata.get("follows", ABSENT)),
        )


def version_of(record: Mark | None, claim: Mark | None, submitted: Mark | None = None) -> Version:
    """The version of the truth. A claim that was looked at after the record is never mistaken for older than it is.

    Args:
        record: the record's mark; None if there is none.
        claim: the claim's; of no account where the record has succeeded.
        submitted: the mark of what the submit call wrote; needed where there is nothing else.
    """
    if record is not None and record.status is Status.SUCCEEDED:
        return Version(record.step, record=record.generation)  # nothing follows it
    if claim is not None and (record is None or claim.step > record.step):
        return Version(claim.step, claim.status is Status.RUNNING, record=claim.follows, claim=claim.generation)
    if record is not None:
        return Version(record.step, record=record.generation, claim=claim.generation if claim else ABSENT)
    return Version(submitted=submitted.generation) if submitted else Version()


def metadata_of(step: int, follows: int) -> Mapping[str, str]:
    """What `Mark.on` reads again, beside the status."""
    return {
        **({"step": str(step)} if step else {}),
        **({"follows": str(follows)} if follows else {}),
    }
