"""The task types of chaos: one for each way in which a task may end."""

from __future__ import annotations

import asyncio
import time

from poolhouse.local.chaos.journal import mark
from poolhouse.worker import Limit, Payload, Reject, Retry, TaskContext, Unique, task


class Number(Payload):
    """A number that the result is to show."""

    number: int


class Times(Payload):
    """How often to fail first, or how many tasks to submit."""

    number: int
    times: int


class Seconds(Payload):
    """How long to work."""

    number: int
    seconds: float


@task("echo")
def echo(payload: Number, ctx: TaskContext) -> int:
    """End at once with a small result."""
    return payload.number


@task("file", result_file="chaos")
def file(payload: Number, ctx: TaskContext) -> dict[str, str | int]:
    """End with a result that is an object of its own; every attempt would write another one."""
    return {"number": payload.number, "made_by": f"attempt {ctx.attempt}"}


@task("nap")
def nap(payload: Seconds, ctx: TaskContext) -> int:
    """Work for a while, as a good handler does: with progress and checkpoints."""
    end_s = time.monotonic() + payload.seconds
    while (left_s := end_s - time.monotonic()) > 0:
        ctx.progress(payload.seconds - left_s, payload.seconds)
        ctx.checkpoint()
        time.sleep(min(0.05, left_s))
    return payload.number


class Slot(Payload):
    """How long to work, and in which place, where others may not work."""

    number: int
    slot: int
    seconds: float


@task("single", unique=Unique(by=("slot",)))
def single(payload: Slot, ctx: TaskContext) -> int:
    """Work alone in its slot."""
    time.sleep(payload.seconds)
    return payload.number


class Stages(Payload):
    """How many steps to take, and how long each lasts."""

    number: int
    steps: int
    seconds: float


@task("stepped")
def stepped(payload: Stages, ctx: TaskContext) -> int:
    """Take steps, each of which leaves a mark whenever it runs."""

    def work(step: str) -> str:
        ctx.store.put(mark(ctx.task_id, step, ctx.attempt), b"{}")
        time.sleep(payload.seconds)
        return step

    for number in range(payload.steps):
        ctx.step(f"step-{number}", work, f"step-{number}")
    return payload.number


@task("narrow", limit=Limit(max_concurrency=2, key="slot"))
def narrow(payload: Slot, ctx: TaskContext) -> int:
    """Work beside one other in its slot, in all workers together."""
    time.sleep(payload.seconds)
    return payload.number


@task("in_turn", serial_by="slot")
def in_turn(payload: Slot, ctx: TaskContext) -> int:
    """Work alone in its slot, and let the others wait."""
    time.sleep(payload.seconds)
    return payload.number


@task("doze")
async def doze(payload: Seconds, ctx: TaskContext) -> int:
    """Wait on the event loop."""
    await asyncio.sleep(payload.seconds)
    return payload.number


@task("flaky")
def flaky(payload: Times, ctx: TaskContext) -> int:
    """Fail some times, then succeed."""
    if ctx.attempt <= payload.times:
        if ctx.attempt % 2:
            raise Retry("not yet", after_s=0.1)
        raise RuntimeError("not yet")
    return payload.number


@task("refuse")
def refuse(payload: Number, ctx: TaskContext) -> int:
    """Say that no retry can help."""
    raise Reject(f"no to {payload.number}")


@task("boom", max_attempts=2)
def boom(payload: Number, ctx: TaskContext) -> None:
    """Fail until no attempt is left."""
    raise RuntimeError(f"boom {payload.number}")


@task("parent")
def parent(payload: Times, ctx: TaskContext) -> list[str]:
    """Submit other tasks; the result is their ids."""
    return [ctx.submit("echo", Number(number=payload.number)) for _ in range(payload.times)]


class Crowd(Payload):
    """A group: how many echoes, how many that are refused, and whether the join runs in spite of those."""

    number: int
    echoes: int
    refused: int
    anyway: bool


@task("crowd")
def crowd(payload: Crowd, ctx: TaskContext) -> str:
    """Make a group; the result is its id."""
    members = [echo.ref(Number(number=index)) for index in range(payload.echoes)]
    members += [refuse.ref(Number(number=index)) for index in range(payload.refused)]
    return ctx.group(
        members, then=gather.ref(Number(number=payload.number)), wait_for="ended" if payload.anyway else "succeeded"
    )


@task("gather")
def gather(payload: Number, ctx: TaskContext) -> list[int | None]:
    """Return the results of a group, in order."""
    return [member.result if member.succeeded else None for member in ctx.group_results()]
