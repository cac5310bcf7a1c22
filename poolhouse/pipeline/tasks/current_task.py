"""The attempt that the code at hand runs for, so that a task type submitted in a handler becomes its follow-up."""

from __future__ import annotations

import decimal
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_current: ContextVar[Any] = ContextVar("poolhouse_task_context", default=None)


def context() -> Any:
    """Return the `TaskContext` of the handler that is running here; None outside of handlers."""
    return _current.get()


def call(function: Callable[..., Any], payload: Any, ctx: Any) -> Any:
    """Call a handler, sync or async, so that `context()` is `ctx` inside; returns what it returns.

    It has a decimal context of its own: that of the thread is an object, which copies of a `contextvars` context share,
    and a precision that one handler sets would be that of others.
    """
    token = _current.set(ctx)
    try:
        with decimal.localcontext():
            value = function(payload, ctx)
    finally:
        _current.reset(token)
    return _awaited(value, ctx) if inspect.iscoroutine(value) else value


async def _awaited(coroutine: Any, ctx: Any) -> Any:
    token = _current.set(ctx)
    try:
        with decimal.localcontext():
            return await coroutine
    finally:
        _current.reset(token)
