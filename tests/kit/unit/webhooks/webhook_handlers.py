"""Task types whose ends are told."""

from __future__ import annotations

from opentelemetry.trace import get_tracer

from poolhouse import Payload, Reject, TaskContext, task


class Order(Payload):
    number: int = 1
    characters: int = 0


@task("ship")
def ship(payload: Order, ctx: TaskContext) -> str:
    with get_tracer("shop").start_as_current_span("pack"):  # nothing without a provider
        return "x" * payload.characters or f"order {payload.number} is on its way"


@task("ship_unrecorded", record=False)
def ship_unrecorded(payload: Order, ctx: TaskContext) -> int:
    return payload.number


@task("refuse")
def refuse(payload: Order, ctx: TaskContext) -> None:
    raise Reject("no such order")


#: Whether `once_broken` works by now.
mended: list[bool] = []


@task("once_broken", max_attempts=1)
def once_broken(payload: Order, ctx: TaskContext) -> str:
    if not mended:
        raise ConnectionError("the warehouse is closed")
    return "open again"


@task("measure", cpu=True)
def measure(payload: Order, ctx: TaskContext) -> int:
    return payload.number
