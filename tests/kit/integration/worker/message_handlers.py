"""Task types that end in every way a handler can think of, for the tests of messages and records."""

from __future__ import annotations

import datetime
import decimal
import math
import os
import uuid
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from poolhouse.worker import Payload, Reject, Retry, TaskContext, task


class Way(Payload):
    way: str = ""


class Wait(Payload):
    after_s: float


class Text(Payload):
    text: str = ""
    refuse: bool = False


class Row(BaseModel):
    at: datetime.datetime


@task("plain")
def plain(payload: Payload, ctx: TaskContext) -> int:
    return ctx.attempt


@task("postpone")
def postpone(payload: Wait, ctx: TaskContext) -> None:
    raise Retry("not yet", after_s=payload.after_s)


@task("measure")
def measure(payload: Text, ctx: TaskContext) -> int:
    if payload.refuse:
        raise Reject("too much")
    return len(payload.text)


@task("stubborn", max_attempts=20)
def stubborn(payload: Payload, ctx: TaskContext) -> None:
    raise RuntimeError(f"attempt {ctx.attempt}")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class OtherBase(BaseException):
    pass


def _cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _raise(error: BaseException) -> Any:
    raise error


NAME = os.fsdecode(b"caf\xe9")

#: What a handler returns, or how it raises.
RETURNS: dict[str, Callable[[], Any]] = {
    "datetime": lambda: {"at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)},
    "decimal": lambda: decimal.Decimal("1.10"),
    "set": lambda: {3},
    "uuid": lambda: uuid.UUID(int=1),
    "bytes": lambda: b"abc",
    "models": lambda: [Row(at=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))],
    "binary": lambda: b"\xff",
    "nan": lambda: {"rows": [1, {"mean": math.nan}]},
    "infinity": lambda: -math.inf,
    "object": object,
    "cycle": _cycle,
    "deep": lambda: _deep(150),
    "deeper": lambda: _deep(5000),
    "surrogate": lambda: {"file": NAME},
    "long integer": lambda: 10**5000,
    "large": lambda: ["x" * 1000] * 20_000,
}
RAISES: dict[str, Callable[[], Any]] = {
    "reject colour": lambda: _raise(Reject("\x1b[31mred\x1b[0m")),
    "reject surrogate": lambda: _raise(Reject(NAME)),
    "reject blank": lambda: _raise(Reject(" \n")),
    "reject long": lambda: _raise(Reject("y" * 5_000_000)),
    "surrogate": lambda: _raise(FileNotFoundError(NAME)),
    "nul": lambda: _raise(ValueError("a\0b")),
    "unspeakable": lambda: _raise(Unspeakable()),
    "base": lambda: _raise(OtherBase("base")),
    "group": lambda: _raise(ExceptionGroup("several", [ValueError("one"), KeyError("two")])),
    "retry nan": lambda: _raise(Retry("soon", after_s=math.nan)),
    "long": lambda: _raise(RuntimeError("z" * 5_000_000)),
}


@task("returns", max_attempts=3)
def returns(payload: Way, ctx: TaskContext) -> Any:
    return RETURNS[payload.way]()


@task("raises", max_attempts=1)
def raises(payload: Way, ctx: TaskContext) -> Any:
    return RAISES[payload.way]()


@task("reports")
def reports(payload: Payload, ctx: TaskContext) -> str:
    ctx.progress(math.nan, math.inf, note=f"{NAME} \x1b[31m")
    return "reported"


@task("submits", max_attempts=1)
def submits(payload: Payload, ctx: TaskContext) -> str:
    return ctx.submit("returns", {"way": NAME})
