"""Task types that behave in known ways: what the e2e and the tests submit. Loaded by the local stack alone.

None names a queue: they have to work whatever queues a pipeline declares.
"""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, Field

from poolhouse.worker import Payload, Reject, TaskContext, task

#: How often a slow task looks whether it may go on, in seconds.
STEP_S = 0.05


class Echo(Payload):
    """Anything."""

    value: Any = None


class Echoed(BaseModel):
    """What came in, and in which attempt."""

    value: Any
    attempt: int


@task("sample.echo")
def echo(payload: Echo, ctx: TaskContext) -> Echoed:
    """Return the payload's value at once."""
    return Echoed(value=payload.value, attempt=ctx.attempt)


class Flaky(Payload):
    """How often to fail."""

    failures: int = Field(default=2, ge=0, le=100)


@task("sample.flaky")
def flaky(payload: Flaky, ctx: TaskContext) -> Echoed:
    """Fail in the first attempts, then succeed."""
    if ctx.attempt <= payload.failures:
        raise RuntimeError(f"failure {ctx.attempt} of {payload.failures}")
    return Echoed(value=payload.failures, attempt=ctx.attempt)


class Slow(Payload):
    """How long to take, in seconds."""

    duration_s: float = Field(default=1, ge=0, le=3600)
    #: Of attempts after the first; None: the same.
    later_duration_s: float | None = Field(default=None, ge=0, le=3600)


@task("sample.slow")
def slow(payload: Slow, ctx: TaskContext) -> Echoed:
    """Take some time, report progress, and stop at the next checkpoint when asked to."""
    later = payload.duration_s if payload.later_duration_s is None else payload.later_duration_s
    duration_s = payload.duration_s if ctx.attempt == 1 else later
    started = time.monotonic()
    while (elapsed := time.monotonic() - started) < duration_s:
        ctx.progress(round(elapsed, 2), duration_s)
        ctx.checkpoint()
        time.sleep(min(STEP_S, max(0.0, duration_s - elapsed)))
    return Echoed(value=duration_s, attempt=ctx.attempt)


class Failing(Payload):
    """What to fail with."""

    message: str = "this task always fails"


@task("sample.failing", max_attempts=2)
def failing(payload: Failing, ctx: TaskContext) -> None:
    """Fail in every attempt."""
    raise RuntimeError(payload.message)


@task("sample.reject")
def reject(payload: Failing, ctx: TaskContext) -> None:
    """Refuse the task for good."""
    raise Reject(payload.message)


class Nothing(Payload):
    """No fields."""


@task("sample.collect")
def collect(payload: Nothing, ctx: TaskContext) -> list[Any]:
    """Return the results of a group whose members are echoes; null for one without."""
    return [member.result.value if member.succeeded else None for member in ctx.group_results(echo)]


class FanOut(Payload):
    """How many echoes to submit."""

    count: int = Field(default=10, ge=0, le=100_000)


@task("sample.fan_out", cpu=True)
def fan_out(payload: FanOut, ctx: TaskContext) -> str:
    """Submit a group of echoes, from a process of its own; return its id."""
    return ctx.group((echo.ref(Echo(value=number)) for number in range(payload.count)), then=collect.ref())
