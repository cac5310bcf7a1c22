"""A decorated handler: still a function, and the reference to its task type."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from poolhouse import Payload, TaskContext, TaskType, task
from poolhouse.pipeline.errors import ConfigError
from poolhouse.testing.doubles import FakeContext
from poolhouse.worker.registry import Registry


class Greet(Payload):
    name: str


class Greeting(BaseModel):
    text: str


@task("greet")
def greet(payload: Greet, ctx: TaskContext) -> Greeting:
    """Greet somebody."""
    return Greeting(text=f"Hello, {payload.name}!")


@task("greet-later")
async def greet_later(payload: Greet, ctx: TaskContext) -> Greeting:
    await asyncio.sleep(0)
    handle = await greet.submit_async(payload, queue="bulk")
    return Greeting(text=handle.task_id)


@task("outer", cpu=True)
@task("inner", queue="bulk")
def both(payload: Greet, ctx: TaskContext) -> list[str]:
    return [greet.submit(payload).task_id, ctx.submit(greet, payload), ctx.submit("greet", payload)]


def test_it_is_called_as_the_function_it_was() -> None:
    ctx = FakeContext()
    assert greet(Greet(name="Ada"), ctx) == Greeting(text="Hello, Ada!")
    assert greet(payload=Greet(name="Ada"), ctx=ctx) == Greeting(text="Hello, Ada!")
    assert asyncio.run(greet_later(Greet(name="Ada"), ctx)).text == "follow-up-1"
    with pytest.raises(TypeError, match="missing a required argument"):
        greet(Greet(name="Ada"))  # type: ignore[call-arg]


def test_it_looks_like_the_function_it_was() -> None:
    assert inspect.getdoc(greet) == "Greet somebody."
    assert list(inspect.signature(greet).parameters) == ["payload", "ctx"]
    assert (getattr(greet, "__name__", ""), greet.__module__) == ("greet", __name__)
    assert inspect.unwrap(greet) is greet.function
    assert repr(greet) == "<task type greet>"


def test_it_knows_its_types() -> None:
    assert (greet.task_type, greet.payload_type, greet.result_type) == ("greet", Greet, Greeting)
    assert both.task_type == "outer"
    assert Registry(both.__poolhouse_handlers__)["inner"].function is both.function


def test_it_travels_to_other_processes_by_its_name() -> None:
    assert pickle.loads(pickle.dumps(greet)) is greet


def test_what_a_handler_submits_is_its_follow_up() -> None:
    ctx = FakeContext()
    assert both(Greet(name="Ada"), ctx) == ["follow-up-1", "follow-up-2", "follow-up-3"]
    assert ctx.submitted == [("greet", Greet(name="Ada"))] * 3


def test_a_follow_up_can_not_be_waited_for_in_its_handler() -> None:
    @task("impatient")
    def impatient(payload: Greet, ctx: TaskContext) -> Any:
        return greet.submit(payload).result()

    with pytest.raises(RuntimeError, match="published once this handler has succeeded"):
        impatient(Greet(name="Ada"), FakeContext())


def test_a_follow_up_takes_no_idempotency_key() -> None:
    @task("keyed")
    def keyed(payload: Greet, ctx: TaskContext) -> Any:
        return greet.submit(payload, idempotency_key="k")

    with pytest.raises(ValueError, match="leave the key out"):
        keyed(Greet(name="Ada"), FakeContext())


def test_outside_of_handlers_the_environment_names_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POOLHOUSE_API_URL", raising=False)
    greet(Greet(name="Ada"), FakeContext())  # a handler that has ended leaves nothing behind
    with pytest.raises(ConfigError, match="POOLHOUSE_API_URL"):
        greet.submit(Greet(name="Ada"))
    with pytest.raises(ConfigError, match="POOLHOUSE_API_URL"):
        asyncio.run(greet.submit_async(Greet(name="Ada")))


def test_a_program_without_the_handlers_makes_the_reference_of_the_models() -> None:
    reference = TaskType("greet", Greet, Greeting)
    assert reference.result_adapter.validate_json(b'{"text": "Hello"}') == Greeting(text="Hello")


def test_importing_poolhouse_imports_no_server_and_no_client() -> None:
    heavy = ("httpx2", "fastapi", "starlette", "google.cloud", "google.auth", "grpc", "requests")
    code = f"import sys, poolhouse; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
