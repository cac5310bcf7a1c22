"""Task types for the worker's tests."""

from __future__ import annotations

import asyncio
import decimal
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import structlog
from pydantic import BaseModel, model_validator

from poolhouse.pipeline.names import FileName
from poolhouse.worker import Backoff, Payload, Reject, Retry, TaskContext, Unique, WorkerStopping, task

#: Task ids in the order in which handlers started.
runs: list[str] = []
#: Handlers of `wait` go on once this is set.
go_on = threading.Event()


class Number(Payload):
    n: int = 0


@task("echo")
def echo(payload: Number, ctx: TaskContext) -> dict[str, int]:
    runs.append(ctx.task_id)
    return {"n": payload.n}


class Upload(Payload):
    name: FileName


@task("upload")
def upload(payload: Upload, ctx: TaskContext) -> dict[str, str]:
    return {"name": payload.name}


@task("nothing")
def nothing(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)


@task("boom")
def boom(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)
    raise RuntimeError("boom")


@task("once", max_attempts=1)
def once(payload: Number, ctx: TaskContext) -> None:
    raise RuntimeError("only once")


@task("reject")
def reject(payload: Number, ctx: TaskContext) -> None:
    raise Reject("not this one")


@task("later")
def later(payload: Number, ctx: TaskContext) -> None:
    raise Retry("too early", after_s=90)


@task("busy", max_attempts=1)
def busy(payload: Number, ctx: TaskContext) -> None:
    raise Retry("busy", after_s=90, counts=False)


@task("busy_process", max_attempts=1, cpu=True)
def busy_process(payload: Number, ctx: TaskContext) -> None:
    raise Retry("busy", counts=False)


@task("time_process", cpu=True)
def time_process(payload: Number, ctx: TaskContext) -> str:
    return ctx.now().isoformat()


@task("light_busy", max_attempts=1, record=False)
def light_busy(payload: Number, ctx: TaskContext) -> None:
    raise Retry("busy", counts=False)


@task("backs_off", max_attempts=20, backoff=Backoff(base_s=10, factor=3, ceiling_s=60, jitter=0))
def backs_off(payload: Number, ctx: TaskContext) -> None:
    raise RuntimeError("again")


ERRORS = {1: ConnectionError, 2: KeyError, 3: ConnectionResetError, 4: TimeoutError, 5: SystemExit}


@task("choosy", retry_on=(OSError,), reject_on=(ConnectionResetError,))
def choosy(payload: Number, ctx: TaskContext) -> None:
    raise ERRORS[payload.n]("this one")


@task("choosy_process", retry_on=(OSError,), reject_on=(ConnectionResetError,), cpu=True)
def choosy_process(payload: Number, ctx: TaskContext) -> None:
    raise ERRORS[payload.n]("this one")


@task("hours")
def hours(payload: Number, ctx: TaskContext) -> None:
    raise Retry("too early", after_s=6 * 3600)


@task("light_hours", record=False)
def light_hours(payload: Number, ctx: TaskContext) -> None:
    raise Retry("too early", after_s=6 * 3600)


@task("delaying_parent")
def delaying_parent(payload: Number, ctx: TaskContext) -> str:
    return ctx.submit("echo", {"n": 1}, delay_s=86_400)


@task("one_a_number", unique=Unique(by=("n",)))
def one_a_number(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)


@task("settles_down", unique=Unique(by=("n",), on_conflict="replace", debounce_s=30))
def settles_down(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)


@task("unique_parent")
def unique_parent(payload: Number, ctx: TaskContext) -> list[str]:
    return [ctx.submit("one_a_number", {"n": 1}), ctx.submit("settles_down", {"n": 1})]


@task("not_json")
def not_json(payload: Number, ctx: TaskContext) -> dict[str, object]:
    runs.append(ctx.task_id)
    return {"x": object()}


@task("rude_reject")
def rude_reject(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)
    raise Reject(404)  # type: ignore[arg-type]


class Busy(Retry):
    def __init__(self) -> None:
        """Forget the base class, as people do."""


@task("silent_retry", max_attempts=1)
def silent_retry(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)
    raise Busy


@task("big")
def big(payload: Number, ctx: TaskContext) -> str:
    runs.append(ctx.task_id)
    return "x" * payload.n


@task("report", result_file="report")
def report(payload: Number, ctx: TaskContext) -> dict[str, int]:
    return {"n": payload.n}


@task("parent")
def parent(payload: Number, ctx: TaskContext) -> list[str]:
    return [ctx.submit("echo", {"n": 1}), ctx.submit("echo", Number(n=2), queue="urgent")]


@task("referring_parent")
def referring_parent(payload: Number, ctx: TaskContext) -> list[str]:
    return [echo.submit(Number(n=1)).task_id, ctx.submit(echo, Number(n=2), queue="urgent")]


@task("referring_coroutine")
async def referring_coroutine(payload: Number, ctx: TaskContext) -> list[str]:
    await asyncio.sleep(0)
    return [
        (await echo.submit_async(Number(n=1))).task_id,
        (await asyncio.to_thread(echo.submit, Number(n=2), queue="urgent")).task_id,
    ]


@task("referring_process", cpu=True)
def referring_process(payload: Number, ctx: TaskContext) -> list[str]:
    return referring_parent(payload, ctx)


@task("failing_parent")
def failing_parent(payload: Number, ctx: TaskContext) -> None:
    ctx.submit("echo", {"n": 1})
    raise RuntimeError("after the follow-up")


@task("light", record=False, max_attempts=2)
def light(payload: Number, ctx: TaskContext) -> None:
    if payload.n:
        raise RuntimeError("light")


@task("wait", timeout_s=1)
def wait(payload: Number, ctx: TaskContext) -> str:
    runs.append(ctx.task_id)
    while not go_on.wait(0.01):
        ctx.progress(1, 2, "waiting")
        ctx.checkpoint()
    return "went on"


@task("deaf", timeout_s=1)
def deaf(payload: Number, ctx: TaskContext) -> str:
    runs.append(ctx.task_id)
    go_on.wait(30)
    return "too late"


@task("coroutine")
async def coroutine(payload: Number, ctx: TaskContext) -> int:
    return payload.n + 1


@task("leave")
def leave(payload: Number, ctx: TaskContext) -> None:
    raise SystemExit(3)


@task("leave_coroutine")
async def leave_coroutine(payload: Number, ctx: TaskContext) -> None:
    raise SystemExit(3)


@task("own_process", cpu=True)
def own_process(payload: Number, ctx: TaskContext) -> dict[str, Any]:
    if payload.n == 9:
        os._exit(7)
    if payload.n == 5:
        raise Reject("not in this process")
    end = time.monotonic() + payload.n
    while time.monotonic() < end:
        ctx.checkpoint()
    return {"pid": os.getpid()}


@task("parent_in_process", cpu=True)
def parent_in_process(payload: Number, ctx: TaskContext) -> list[str]:
    told = [ctx.submit("echo", {"n": 1}), ctx.submit("echo", Number(n=2), queue="urgent")]
    for task_type, fields, queue in (("none", {}, None), ("echo", {"n": "x"}, None), ("echo", {}, "none")):
        try:
            ctx.submit(task_type, fields, queue=queue)
        except (KeyError, ValueError) as error:
            told.append(next(kind.__name__ for kind in (KeyError, ValueError) if isinstance(error, kind)))
    try:
        ctx.submit("echo", "n=1")  # type: ignore[call-overload]
    except TypeError as error:
        told.append(str(error))
    return told


@task("odd_process", cpu=True, max_attempts=3)
def odd_process(payload: Number, ctx: TaskContext) -> object:
    return [threading.Lock()]


@task("deaf_process", cpu=True, timeout_s=1)
def deaf_process(payload: Number, ctx: TaskContext) -> None:
    ctx.progress(1)
    time.sleep(60)


def _lower_precision() -> int:
    before = decimal.getcontext().prec
    decimal.getcontext().prec = 3
    return before


@task("precision")
def precision(payload: Number, ctx: TaskContext) -> int:
    return _lower_precision()


@task("precision_coroutine")
async def precision_coroutine(payload: Number, ctx: TaskContext) -> int:
    return _lower_precision()


@task("precision_process", cpu=True)
def precision_process(payload: Number, ctx: TaskContext) -> int:
    return _lower_precision()


class _Metaclass(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


class _Exits(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(3)


class _Nameless(Exception, metaclass=_Metaclass):
    """An error whose class can't be named."""


def _broken_rows() -> Iterator[int]:
    yield 1
    sys.exit(4)


def _raise_unreadable(n: int) -> object:
    if n == 0:
        raise _Exits
    if n == 1:
        raise _Nameless
    return _broken_rows()


@task("unreadable")
def unreadable(payload: Number, ctx: TaskContext) -> object:
    return _raise_unreadable(payload.n)


@task("unreadable_coroutine")
async def unreadable_coroutine(payload: Number, ctx: TaskContext) -> object:
    return _raise_unreadable(payload.n)


@task("unreadable_process", cpu=True)
def unreadable_process(payload: Number, ctx: TaskContext) -> object:
    return _raise_unreadable(payload.n)


@task("loop_breaker")
async def loop_breaker(payload: Number, ctx: TaskContext) -> str:
    loop = asyncio.get_running_loop()
    if payload.n == 0:
        loop.stop()
        await asyncio.sleep(0)
        return "the loop goes on"

    def refuse(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("no tasks here")

    loop.set_task_factory(refuse)
    return "nobody starts a task here any more"


@task("stops_itself")
def stops_itself(payload: Number, ctx: TaskContext) -> None:
    raise WorkerStopping("I say so")


class Broken(Payload):
    """A model whose validator has a mistake."""

    n: int = 0

    @model_validator(mode="before")
    @classmethod
    def _check(cls, value: dict[str, Any]) -> Any:
        return value["missing"]


@task("broken_model")
def broken_model(payload: Broken, ctx: TaskContext) -> None: ...


@task("narrow", max_concurrency_per_process=1)
def narrow(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)
    go_on.wait(5)


@task("slow_rate", rate_per_process="1/h")
def slow_rate(payload: Number, ctx: TaskContext) -> None:
    runs.append(ctx.task_id)


class Text(Payload):
    text: str = ""
    n: int = 0


@task("length")
def length(payload: Text, ctx: TaskContext) -> int:
    runs.append(ctx.task_id)
    return len(payload.text)


@task("length_of_cpu", cpu=True)
def length_of_cpu(payload: Text, ctx: TaskContext) -> int:
    return len(payload.text)


@task("length_unrecorded", record=False)
def length_unrecorded(payload: Text, ctx: TaskContext) -> int:
    runs.append(ctx.task_id)
    return len(payload.text)


@task("length_refused")
def length_refused(payload: Text, ctx: TaskContext) -> None:
    raise Reject("too long")


@task("boom_text")
def boom_text(payload: Text, ctx: TaskContext) -> None:
    raise RuntimeError("boom")


@task("one_text", unique=Unique(by=("n",)))
def one_text(payload: Text, ctx: TaskContext) -> int:
    return len(payload.text)


@task("large_parent")
def large_parent(payload: Text, ctx: TaskContext) -> list[str]:
    runs.append(ctx.task_id)
    large = Text(text="x" * payload.n)
    return [ctx.submit("length", large), ctx.submit("length", Text(text="small")), ctx.submit("one_text", large)]


class Page(BaseModel):
    number: int
    made_in: int


#: Names of steps whose functions have run, and what a test lets happen in one.
steps_run: list[str] = []
in_step: dict[str, Callable[[], None]] = {}


def make_page(number: int, ctx: TaskContext) -> Page:
    steps_run.append(f"page {number}")
    in_step.get(f"page {number}", lambda: None)()
    return Page(number=number, made_in=ctx.attempt)


async def make_page_async(number: int, ctx: TaskContext) -> Page:
    await asyncio.sleep(0)
    return make_page(number, ctx)


def _fail_once(payload: Number, ctx: TaskContext) -> None:
    if ctx.attempt <= payload.n:
        raise RuntimeError(f"attempt {ctx.attempt} fails")


@task("stepped")
def stepped(payload: Number, ctx: TaskContext) -> list[int]:
    first, second = (ctx.step(f"page {number}", make_page, number, ctx) for number in (1, 2))
    _fail_once(payload, ctx)
    return [first.made_in, second.made_in, ctx.step("page 3", make_page, 3, ctx).made_in]


@task("stepped_process", cpu=True)
def stepped_process(payload: Number, ctx: TaskContext) -> list[int]:
    return stepped.function(payload, ctx)  # type: ignore[no-any-return]


@task("stepped_async")
async def stepped_async(payload: Number, ctx: TaskContext) -> list[int]:
    first, second = [await ctx.step(f"page {number}", make_page_async, number, ctx) for number in (1, 2)]
    _fail_once(payload, ctx)
    return [first.made_in, second.made_in, (await ctx.step("page 3", make_page_async, 3, ctx)).made_in]


@task("stepped_unrecorded", record=False, max_attempts=1)
def stepped_unrecorded(payload: Number, ctx: TaskContext) -> None:
    ctx.step("page 1", make_page, 1, ctx)


@task("submits_in_step", max_attempts=1)
def submits_in_step(payload: Number, ctx: TaskContext) -> None:
    ctx.step("submit", ctx.submit, "echo", Number())


@task("large_steps")
def large_steps(payload: Number, ctx: TaskContext) -> list[int]:
    def text(length: int) -> str:
        steps_run.append(f"text {length}")
        return "x" * length

    lengths = [len(ctx.step(f"text {length}", text, length)) for length in (40_000, 30_000, 10_000, 100_000)]
    _fail_once(payload, ctx)
    return lengths


@task("counting")
def counting(payload: Number, ctx: TaskContext) -> list[int]:
    begun = ctx.cursor or 0
    for number in range(begun, 10):
        in_step.get(f"number {number}", lambda: None)()
        if number == 5:
            _fail_once(payload, ctx)
        ctx.cursor = number + 1
    return [begun, ctx.cursor]


@task("counting_process", cpu=True)
def counting_process(payload: Number, ctx: TaskContext) -> list[int]:
    return counting.function(payload, ctx)  # type: ignore[no-any-return]


@task("turns", serial_by="n")
def turns(payload: Number, ctx: TaskContext) -> None:
    """One at a time for each number."""


@task("fields")
def fields(payload: Number, ctx: TaskContext) -> dict[str, Any]:
    return dict(structlog.get_context(ctx.log))


@task("fields_of_process", cpu=True)
def fields_of_process(payload: Number, ctx: TaskContext) -> dict[str, Any]:
    return dict(structlog.get_context(ctx.log))
