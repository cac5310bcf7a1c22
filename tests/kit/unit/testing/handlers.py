"""Task types of the tests of the test kit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field

from poolhouse import Limit, Payload, Reject, Retry, TaskContext, Unique, task


class Person(Payload):
    name: str


class Greeting(BaseModel):
    text: str
    at: datetime


class Area(BaseModel):
    """A result that says more than it is made of, and is made of nothing else."""

    model_config = ConfigDict(extra="forbid")

    wide: int = Field(alias="w")
    high: int = Field(alias="h")

    @computed_field
    def area(self) -> int:
        return self.wide * self.high


class Times(Payload):
    times: int


class Anything(Payload):
    value: Any = None


#: What `call` calls; what `spend` has spent; what a test lets `wait` do.
ledger: list[str] = []
during: list[Callable[[], None]] = []


@task("greet")
def greet(payload: Person, ctx: TaskContext) -> Greeting:
    """Greet a person."""
    return Greeting(text=f"Hello, {payload.name}!", at=ctx.now())


@task("measure")
def measure(payload: Times, ctx: TaskContext) -> list[Area]:
    """Measure, in a step."""

    def one() -> Area:
        return Area(w=payload.times, h=2)

    return [ctx.step("one", one), Area(w=1, h=1)]


@task("greet_async")
async def greet_async(payload: Person, ctx: TaskContext) -> str:
    """Greet on the event loop."""
    await asyncio.sleep(0)
    return f"Hello, {payload.name}!"


@task("compute", cpu=True)
def compute(payload: Times, ctx: TaskContext) -> int:
    """Compute."""
    return payload.times * 2


@task("flaky")
def flaky(payload: Times, ctx: TaskContext) -> int:
    """Fail some times."""
    if ctx.attempt <= payload.times:
        raise RuntimeError(f"attempt {ctx.attempt} fails")
    return ctx.attempt


@task("later", max_attempts=2)
def later(payload: Times, ctx: TaskContext) -> str:
    """Ask for a retry in some seconds."""
    if ctx.attempt == 1:
        raise Retry("not yet", after_s=payload.times)
    return ctx.now().isoformat()


@task("only_one", unique=Unique(by=("name",)))
def only_one(payload: Person, ctx: TaskContext) -> str:
    """Return the name."""
    return payload.name


@task("refuse")
def refuse(payload: Person, ctx: TaskContext) -> None:
    """Refuse."""
    raise Reject(f"no to {payload.name}")


@task("fan_out")
def fan_out(payload: Times, ctx: TaskContext) -> list[str]:
    """Submit other tasks, one of them delayed."""
    ids = [ctx.submit("greet", Person(name=f"child {number}")) for number in range(payload.times)]
    return [*ids, ctx.submit("greet", Person(name="late"), delay_s=3600)]


@task("limited", rate_per_process="2/h")
def limited(payload: Times, ctx: TaskContext) -> str:
    """Start twice an hour."""
    return ctx.now().isoformat()


@task("slow", timeout_s=60, max_attempts=1)
def slow(payload: Times, ctx: TaskContext) -> str:
    """Do what the test has put there, and end at a checkpoint if it took too long."""
    for each in during:
        each()
    ctx.checkpoint()
    return "in time"


@task("file", result_file="report")
def file(payload: Person, ctx: TaskContext) -> str:
    """End with a result file."""
    return f"report for {payload.name}"


@task("spend")
def spend(payload: Person, ctx: TaskContext) -> int:
    """Not repeatable: every attempt spends again."""
    ledger.append(payload.name)
    return 1


@task("spend_once")
def spend_once(payload: Person, ctx: TaskContext) -> int:
    """Repeatable: the task's id tells whether it was done."""
    if ctx.task_id not in ledger:
        ledger.append(ctx.task_id)
    return 1


@task("append")
def append(payload: Person, ctx: TaskContext) -> None:
    """Not repeatable: what was read and written is read and written again."""
    name = "processed/log.txt"
    try:
        old = ctx.store.get(name)[0]
    except KeyError:
        old = b""
    ctx.store.put(name, old + payload.name.encode() + b"\n", content_type="text/plain")


@task("quiet", record=False)
def quiet(payload: Person, ctx: TaskContext) -> None:
    """Keep no record."""
    ledger.append(payload.name)


class Nothing(Payload):
    pass


@task("mail")
def mail(payload: Nothing, ctx: TaskContext) -> None:
    """Do what the test has put there."""
    for each in during:
        each()


@task("two_steps")
def two_steps(payload: Person, ctx: TaskContext) -> list[str]:
    """Do two things, each of them once if it takes a second."""

    def work(what: str) -> str:
        ledger.append(what)
        for each in during:
            each()
        return f"{what} of {payload.name}"

    return [ctx.step(what, work, what) for what in ("first", "second")]


@task("two_steps_async")
async def two_steps_async(payload: Person, ctx: TaskContext) -> list[str]:
    """As two_steps, on the event loop."""

    async def work(what: str) -> str:
        await asyncio.sleep(0)
        ledger.append(what)
        return f"{what} of {payload.name}"

    return [await ctx.step(what, work, what) for what in ("first", "second")]


@task("shared", limit=Limit(rate="2/h", key="name"))
def shared(payload: Person, ctx: TaskContext) -> str:
    """Start twice an hour for each name, in all workers together."""
    return ctx.now().isoformat()


@task("in_turn", serial_by="name")
def in_turn(payload: Person, ctx: TaskContext) -> str:
    """One at a time for each name."""
    for each in during:
        each()
    return payload.name


class Text(Payload):
    text: str


@task("count_letters")
def count_letters(payload: Text, ctx: TaskContext) -> int:
    """Count the letters of a text."""
    return len(payload.text)


@task("doubled")
def doubled(payload: Text, ctx: TaskContext) -> str:
    """Submit the text twice over."""
    return ctx.submit("count_letters", Text(text=2 * payload.text))


@task("spend_in_turn", limit=Limit(max_concurrency=2), serial_by="name")
def spend_in_turn(payload: Person, ctx: TaskContext) -> int:
    """Repeatable, and limited."""
    return spend_once.function(payload, ctx)
