"""`greet`: the example; replace it with your own."""

from __future__ import annotations

from poolhouse import Payload, TaskContext, task
from pydantic import BaseModel, Field


class Greet(Payload):
    """What clients send: the API checks it before the task is queued."""

    name: str = Field(min_length=1, max_length=100, examples=["Ada"])


class Greeting(BaseModel):
    """What clients get."""

    greeting: str


@task("greet", queue="urgent")
def greet(payload: Greet, ctx: TaskContext) -> Greeting:
    """Greet a person."""
    ctx.log.info("greeting", name=payload.name)
    return Greeting(greeting=f"Hello, {payload.name}!")
