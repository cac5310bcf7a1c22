"""Task types for the tests of a whole worker process."""

from __future__ import annotations

import os
import time
from pathlib import Path

from poolhouse.pipeline.hooks.hook import Hook
from poolhouse.worker import Payload, Reject, TaskContext, task


class StuckAtTheEnd(Hook):
    """A hook that never closes."""

    def close(self) -> None:
        time.sleep(3600)


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


class Gate(Payload):
    until: Path


@task("hold")
def hold(payload: Gate, ctx: TaskContext) -> None:
    while not payload.until.exists():
        ctx.checkpoint()
        time.sleep(0.05)


@task("refuse")
def refuse(payload: Refusal, ctx: TaskContext) -> str:
    if not payload.really:
        raise Reject("never")
    return "all right then"


class Visit(Payload):
    tenant: str
    visits: str
    gate: str


@task("visit", record=False)
def visit(payload: Visit, ctx: TaskContext) -> None:
    """Note the tenant in a file; the first visitors wait at the gate."""
    while not os.path.exists(payload.gate):
        time.sleep(0.01)
    with open(payload.visits, "a", encoding="utf-8") as file:
        file.write(f"{payload.tenant}\n")
