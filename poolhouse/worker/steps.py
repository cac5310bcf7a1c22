"""Resumable steps: what an attempt has done, and its record says, the next one does not do again.

A step's result passes JSON and back before the handler gets it, in the attempt that made it too: so each attempt sees
the same, and a type that does not survive is noticed at once.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import typing
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Protocol

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import from_json

from poolhouse.pipeline import json_values
from poolhouse.pipeline.errors import InvalidValue
from poolhouse.pipeline.tasks.records import Step
from poolhouse.worker.errors import Reject, StepChanged

#: Steps of one attempt, and characters of a name.
MAX_STEPS, MAX_NAME = 1000, 100
#: Bytes of a cursor, as JSON: it is in each write of the record.
MAX_CURSOR_BYTES = 16 * 1024

#: The step whose function is running here.
_inside: ContextVar[str | None] = ContextVar("poolhouse_step", default=None)


class Ledger(Protocol):
    """Where the ended steps of a task are kept. Its methods may wait for storage."""

    def find(self, name: str) -> Step | None:
        """The step of that name, where it has ended in this or an earlier attempt."""

    def load(self, step: Step) -> bytes:
        """Its result as JSON."""

    def record(self, name: str, result: bytes, *, started_at: datetime) -> None:
        """Keep the result of a step that has ended, as JSON."""


class Steps:
    """The steps of one attempt. Thread-safe."""

    def __init__(self, ledger: Ledger, *, checkpoint: Callable[[], None], now: Callable[[], datetime]) -> None:
        """No step has begun yet.

        Args:
            ledger: keeps what has ended.
            checkpoint: called before each step; raises where the attempt is to end.
            now: the clock.
        """
        self.ledger = ledger
        self._checkpoint = checkpoint
        self._now = now
        self._used: set[str] = set()
        self._lock = threading.Lock()

    def run(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """The step's result: the recorded one, or what the function returns now. Awaitable where the function is async.

        Raises:
            ValueError: the name can't be, or was used before in this attempt.
            TypeError: an async handler gives an ordinary function.
            Reject: the result can't be kept.
            StepChanged: the recorded result does not fit what the function returns now.
        """
        if inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(function):
            return self._run_async(name, function, args, named)
        if _on_event_loop():
            raise TypeError(
                f"step {name!r}: an async handler gives an async function, and awaits ctx.step(…); "
                "asyncio.to_thread inside it runs an ordinary one"
            )
        with self._begun(name):
            kind = _result_type(name, function)
            step = self.ledger.find(name)
            if step is not None:
                return _recorded(step, self.ledger.load(step), kind)
            started_at = self._now()
            with _running(name):
                value = function(*args, **named)
            result = _encoded(name, value)
            self.ledger.record(name, result, started_at=started_at)
            return _made(name, result, kind)

    async def _run_async(
        self,
        name: str,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        named: Mapping[str, Any],
    ) -> Any:
        with self._begun(name):
            kind = _result_type(name, function)
            step = self.ledger.find(name)
            if step is not None:
                return _recorded(step, await asyncio.to_thread(self.ledger.load, step), kind)
            started_at = self._now()
            with _running(name):
                value = await function(*args, **named)
            result = _encoded(name, value)
            await asyncio.to_thread(self.ledger.record, name, result, started_at=started_at)
            return _made(name, result, kind)

    @contextmanager
    def _begun(self, name: str) -> Iterator[None]:
        """Take the name; one whose step fails may be used again."""
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise ValueError(f"the name of a step has 1 to {MAX_NAME} printable characters, not {name!r:.120}")
        self._checkpoint()
        with self._lock:
            if name in self._used:
                raise ValueError(
                    f"step {name!r} was there before in this attempt: each needs a name of its own, "
                    f"such as f'{name} {{n}}'"
                )
            if len(self._used) == MAX_STEPS:
                raise ValueError(f"a task has at most {MAX_STEPS:,} steps: ctx.cursor is for loops")
            self._used.add(name)
        try:
            yield
        except BaseException:
            with self._lock:
                self._used.discard(name)
            raise


def refuse_inside(call: str) -> None:
    """Raise `RuntimeError` where a step is running: an attempt that does not run it again would not do `call`."""
    name = _inside.get()
    if name is not None:
        raise RuntimeError(
            f"{call} inside step {name!r}: an attempt that goes on behind the step would not do it; "
            "do it after the step, with what that returned"
        )


def unrecorded(task_type: str) -> str:
    """Why a task type without a record has no steps."""
    return f"{task_type} keeps no record (record=False), and steps are kept in records"


def cursor_value(value: object) -> Any:
    """A cursor as it comes back in the next attempt. Raises `ValueError` where it can't be kept."""
    if value is None or type(value) in {bool, int}:
        return value
    encoded = json_values.encode(value, what="the cursor")
    if len(encoded) > MAX_CURSOR_BYTES:
        raise ValueError(
            f"the cursor has {len(encoded):,} bytes, and may have {MAX_CURSOR_BYTES:,}: keep what is large as a file"
        )
    return from_json(encoded)


@contextmanager
def _running(name: str) -> Iterator[None]:
    token = _inside.set(name)
    try:
        yield
    finally:
        _inside.reset(token)


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _result_type(name: str, function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """What the function is annotated to return; None where that says nothing. Raises `TypeError`: no type of JSON."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        found = typing.get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001 - names of a local scope, or no function with annotations at all
        return None
    if found is Any:
        return None
    try:
        return TypeAdapter(type(None) if found is None else found)
    except PydanticUserError:
        raise TypeError(f"step {name!r} returns {found!r}, which can't be kept as JSON and read again") from None


def _encoded(name: str, value: object) -> bytes:
    try:
        return json_values.encode(value, what=f"the result of step {name!r}")
    except InvalidValue as error:
        # Its work is done, and another attempt would only do it again.
        raise Reject(str(error)) from None


def _made(name: str, result: bytes, kind: TypeAdapter[Any] | None) -> Any:
    """A result just made, as each later attempt will see it."""
    if kind is None:
        return from_json(result)
    try:
        return json_values.decode(result, kind)
    except ValidationError as error:
        raise Reject(f"step {name!r} returned what its annotation does not allow: {_problem(error)}") from None


def _recorded(step: Step, result: bytes, kind: TypeAdapter[Any] | None) -> Any:
    if kind is None:
        return from_json(result)
    try:
        return json_values.decode(result, kind)
    except ValidationError as error:
        raise StepChanged(
            f"step {step.name!r} was recorded in attempt {step.attempt}, and its function returns another type now "
            f"({_problem(error)}): give the step another name to run it again, or let the type accept the old result"
        ) from None


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the value'}: {first['msg']}"
