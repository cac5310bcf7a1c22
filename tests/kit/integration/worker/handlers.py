"""Task types for the tests of a whole worker process."""

from __future__ import annotations

import time

from poolhouse.worker import Payload, Reject, TaskContext, task


class Sum(Payload):
    a: int
    b: int


class Seconds(Payload):
    seconds: float


class Refusal(Payload):
    really: bool = False


@task("add")
def add(payload: Sum, ctx: TaskContext) -> int:
    return payload.a + payload.b


@task("nap")
def nap(payload: Seconds, ctx: TaskContext) -> None:
    end = time.monotonic() + payload.seconds
    while (left := end - time.monotonic()) > 0:
        ctx.progress(payload.seconds - left, payload.seconds)
        ctx.checkpoint()
        time.sleep(min(0.05, left))


@task("stare")
def stare(payload: Seconds, ctx: TaskContext) -> None:
    time.sleep(payload.seconds)


@task("refuse")
def refuse(payload: Refusal, ctx: TaskContext) -> str:
    if not payload.really:
        raise Reject("never")
    return "all right then"
