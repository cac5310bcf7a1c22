"""Calls that type checkers read; `test_typing.py` says what they must say. Never run."""

# ruff: noqa
from typing import reveal_type

from pydantic import BaseModel

from poolhouse import AsyncClient, Client, Payload, TaskContext, TaskType, task


class Greet(Payload):
    name: str


class Greeting(BaseModel):
    text: str


@task("greet")
def greet(payload: Greet, ctx: TaskContext) -> Greeting:
    return Greeting(text=payload.name)


@task("later")
async def later(payload: Greet, ctx: TaskContext) -> list[Greeting]:
    ctx.submit(greet, payload)
    ctx.submit(greet, Greeting(text="wrong"))  # error
    reveal_type(await greet.submit_async(payload))  # AsyncTaskHandle[Greeting]
    return []


@task("outer")
@task("inner", cpu=True)
def stacked(payload: Greet, ctx: TaskContext) -> int:
    return 1


declared = TaskType("declared", Greet, Greeting)


def calls(ctx: TaskContext, client: Client) -> None:
    reveal_type(greet(Greet(name="Ada"), ctx))  # Greeting
    reveal_type(greet.submit(Greet(name="Ada")).result(timeout_s=1))  # Greeting
    reveal_type(later.submit(Greet(name="Ada")).result())  # list[Greeting]
    reveal_type(stacked.submit(Greet(name="Ada")).result())  # int
    reveal_type(declared.submit(Greet(name="Ada"), delay_s=1).result())  # Greeting
    reveal_type(client.submit(greet, Greet(name="Ada")).result())  # Greeting
    reveal_type(client.task("id", later).result())  # list[Greeting]
    reveal_type(client.submit("greet", {"name": "Ada"}).result())  # Any
    greet.submit(Greeting(text="wrong"))  # error
    greet.submit({"name": "Ada"})  # error
    client.submit(greet, Greeting(text="wrong"))  # error
    greet.submit(Greet(name="Ada"), quue="bulk")  # error


async def async_calls(ctx: TaskContext, client: AsyncClient) -> None:
    reveal_type(await later(Greet(name="Ada"), ctx))  # list[Greeting]
    reveal_type(await (await greet.submit_async(Greet(name="Ada"))).result())  # Greeting
    reveal_type(await (await client.submit(later, Greet(name="Ada"))).result())  # list[Greeting]
