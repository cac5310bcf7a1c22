"""What `@task` makes of a function: still that function to call, and the reference to its task type."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, cast, overload

from poolhouse.client.task_type import P, R, TaskType
from poolhouse.pipeline.tasks import current_task
from poolhouse.worker.context import TaskContext

if TYPE_CHECKING:
    from poolhouse.worker.registry import Handler


class Decorated(TaskType[P, R]):
    """A handler that is the reference to its task type too."""

    #: One of each `@task` above the function; the last is the one that is referred to.
    __poolhouse_handlers__: tuple[Handler, ...]
    __qualname__: str

    def __init__(self, function: Callable[..., Any], handlers: tuple[Handler, ...]) -> None:
        """Wrap a function.

        Args:
            function: the handler.
            handlers: what is known of it, one of each `@task`, the newest last.
        """
        handler = handlers[-1]
        functools.update_wrapper(cast(Any, self), function)
        super().__init__(handler.task_type, cast(type[P], handler.payload_type), handler.result_type)
        self.function = function
        self.__poolhouse_handlers__ = handlers

    def __reduce__(self) -> str:
        return self.__qualname__  # pickled by its name, as functions are

    def _run(self, *arguments: Any, **named: Any) -> Any:
        payload, ctx = inspect.signature(self.function).bind(*arguments, **named).args
        return current_task.call(self.function, payload, ctx)


class TaskFunction(Decorated[P, R]):
    """A handler. `greet(payload, ctx)` runs it at once, as tests do; `greet.submit(payload)` lets a worker run it."""

    if TYPE_CHECKING:

        def __call__(self, payload: P, ctx: TaskContext) -> R: ...

    else:
        __call__ = Decorated._run


class AsyncTaskFunction(Decorated[P, R]):
    """As `TaskFunction`, of an `async def`."""

    if TYPE_CHECKING:

        def __call__(self, payload: P, ctx: TaskContext) -> Coroutine[Any, Any, R]: ...

    else:
        __call__ = Decorated._run


class TaskDecorator(Protocol):
    """What `@task(…)` is applied with."""

    @overload
    def __call__(self, function: Callable[[P, TaskContext], Coroutine[Any, Any, R]], /) -> AsyncTaskFunction[P, R]: ...  # type: ignore[overload-overlap]  # an async function fits both; the first is meant
    @overload
    def __call__(self, function: Callable[[P, TaskContext], R], /) -> TaskFunction[P, R]: ...
