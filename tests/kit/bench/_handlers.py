"""Task types of the measurements."""

from __future__ import annotations

import time

from poolhouse.worker import Payload, TaskContext, task


class Nothing(Payload):
    number: int = 0


class Text(Payload):
    text: str


class Seconds(Payload):
    seconds: float


@task("noop")
def noop(payload: Nothing, ctx: TaskContext) -> None:
    """Nothing, with a record."""


@task("unrecorded", record=False)
def unrecorded(payload: Nothing, ctx: TaskContext) -> None:
    """Nothing, without a record."""


@task("stepped")
def stepped(payload: Nothing, ctx: TaskContext) -> None:
    """Five steps that do nothing, with a record."""
    for number in range(5):
        ctx.step(f"step {number}", int)


@task("text")
def text(payload: Text, ctx: TaskContext) -> int:
    """Read a text, which may be a large payload."""
    return len(payload.text)


@task("nap")
def nap(payload: Seconds, ctx: TaskContext) -> None:
    """Keep a place for a while."""
    time.sleep(payload.seconds)


class Shared(Payload):
    tenant: str
    seconds: float = 0.0


@task("shared", record=False)
def shared(payload: Shared, ctx: TaskContext) -> None:
    """Keep a place for a while, for a tenant."""
    time.sleep(payload.seconds)


@task("shared_recorded")
def shared_recorded(payload: Shared, ctx: TaskContext) -> None:
    """Leave a record that says when it started."""


class Many(Payload):
    count: int


@task("many")
def many(payload: Many, ctx: TaskContext) -> str:
    """Make a group of no-ops."""
    return ctx.group((noop.ref(Nothing(number=number)) for number in range(payload.count)), then=last.ref(Nothing()))


@task("last")
def last(payload: Nothing, ctx: TaskContext) -> int:
    """Read all results; return how many there are."""
    return sum(member.succeeded for member in ctx.group_results())
