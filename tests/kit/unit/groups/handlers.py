"""Task types of the tests of groups and chains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from poolhouse import Payload, Reject, TaskContext, Unique, task
from poolhouse.pipeline.groups.group import WaitFor

#: Numbers whose squares fail; what ran, in order.
broken: set[int] = set()
ran: list[str] = []
#: What a test does while the square of a number is computed; -1: while a group of them is made.
during: dict[int, Callable[[], object]] = {}


class Number(Payload):
    number: int


class Count(Payload):
    count: int
    wait_for: WaitFor = "succeeded"
    alarmed: bool = False


class Total(BaseModel):
    total: int
    missing: list[int]


class Label(Payload):
    label: str = ""


class Alarm(Payload):
    channel: str
    failure: dict[str, Any]


class Page(Payload):
    url: str
    size: int = 0


class Text(Payload):
    text: str


@task("square")
def square(payload: Number, ctx: TaskContext) -> int:
    """Return the square."""
    ran.append(f"square {payload.number}")
    during.get(payload.number, lambda: None)()
    ctx.checkpoint()
    if payload.number in broken:
        raise Reject(f"{payload.number} is broken")
    return payload.number**2


@task("total")
def total(payload: Label, ctx: TaskContext) -> Total:
    """Add the squares up."""
    ran.append(f"total {payload.label}".strip())
    results = list(ctx.group_results(square))
    assert [each.index for each in results] == list(range(len(results)))
    return Total(
        total=sum(each.result for each in results if each.succeeded),
        missing=[each.index for each in results if not each.succeeded],
    )


@task("alarm")
def alarm(payload: Alarm, ctx: TaskContext) -> str:
    """Tell of a failure."""
    ran.append(f"alarm {payload.channel}")
    return str(payload.failure["reason"])


@task("squares")
def squares(payload: Count, ctx: TaskContext) -> str:
    """Make a group."""
    during.get(-1, lambda: None)()
    return ctx.group(
        (square.ref(Number(number=number)) for number in range(payload.count)),
        then=total.ref(Label(label="of all")),
        on_failure=alarm.ref({"channel": "group"}, into="failure") if payload.alarmed else None,
        wait_for=payload.wait_for,
    )


@task("squares_in_a_process", cpu=True)
def squares_in_a_process(payload: Count, ctx: TaskContext) -> str:
    """Make a group in a process of its own."""
    return ctx.group(
        [square.ref(Number(number=number)) for number in range(payload.count)], then=count_in_a_process.ref()
    )


@task("count_in_a_process", cpu=True)
def count_in_a_process(payload: Label, ctx: TaskContext) -> list[int]:
    """Collect the results in a process of its own."""
    return [each.result for each in ctx.group_results(square)]


@task("nested")
def nested(payload: Number, ctx: TaskContext) -> str:
    """Make a group, as a member of one."""
    ran.append("nested")
    return ctx.group([square.ref(Number(number=payload.number))], then=total.ref(Label(label="inner")))


@task("outer")
def outer(payload: Label, ctx: TaskContext) -> str:
    """Make a group whose member makes one."""
    return ctx.group([nested.ref(Number(number=3))], then=done.ref(Label(label="outer")))


@task("done")
def done(payload: Label, ctx: TaskContext) -> int:
    """Return how many members there are."""
    ran.append(f"done {payload.label}")
    return len(list(ctx.group_results()))


@task("fetch")
def fetch(payload: Page, ctx: TaskContext) -> Page:
    """Return the page with its size."""
    ran.append("fetch")
    return Page(url=payload.url, size=len(payload.url))


@task("measure")
def measure(payload: Page, ctx: TaskContext) -> str:
    """Return a sentence."""
    ran.append("measure")
    if payload.size in broken:
        raise RuntimeError("too long")
    return f"{payload.url} has {payload.size}"


@task("shout")
def shout(payload: Text, ctx: TaskContext) -> str:
    """Return it louder."""
    ran.append("shout")
    return payload.text.upper()


@task("chain")
def chain(payload: Page, ctx: TaskContext) -> str:
    """Submit a chain."""
    following = fetch.ref(payload).then(measure).then(shout.ref(into="text"))
    return following.on_failure(alarm.ref({"channel": "chain"}, into="failure")).submit().task_id


@task("unfit")
def unfit(payload: Page, ctx: TaskContext) -> str:
    """Submit a chain whose first result can't be handed on."""
    return ctx.submit(shout.ref(Text(text="a")).then(measure))


@task("once", unique=Unique(by=("label",)))
def once(payload: Label, ctx: TaskContext) -> None:
    """Be unique."""


@task("unrecorded", record=False)
def unrecorded(payload: Label, ctx: TaskContext) -> None:
    """Keep no record."""


@task("unrecorded_group", record=False, max_attempts=1)
def unrecorded_group(payload: Label, ctx: TaskContext) -> str:
    """Make a group without a record to keep it in."""
    return ctx.group([square.ref(Number(number=1))])


@task("unrecorded_group_in_a_process", record=False, max_attempts=1, cpu=True)
def unrecorded_group_in_a_process(payload: Label, ctx: TaskContext) -> str:
    """Do the same in a process of its own."""
    return ctx.group([square.ref(Number(number=1))])


@task("wrong_group")
def wrong_group(payload: Label, ctx: TaskContext) -> None:
    """Make a group that can't be."""
    bad: dict[str, Any] = {
        "unique": {"members": [once.ref()]},
        "unrecorded": {"members": [unrecorded.ref()]},
        "chain": {"members": [shout.ref(Text(text="a")).then(shout.ref(into="text"))]},
        "payload": {"members": [square.ref({"number": "many"})]},
        "join": {"members": [], "then": total.ref(into="label")},
        "into": {"members": [], "on_failure": alarm.ref({"channel": "x"}, into="fault")},
        "type": {"members": ["square"]},
        "wait_for": {"members": [], "wait_for": "all"},
    }[payload.label]
    ctx.group(**bad)
