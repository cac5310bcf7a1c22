"""Calling hooks: in their order, and so that what they raise stays with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from poolhouse.pipeline.hooks.failures import failed
from poolhouse.pipeline.hooks.hook import AttemptEnd, AttemptInfo, Hook, TaskInfo
from poolhouse.pipeline.hooks.waiting import bounded, wait_for
from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.messaging.message import TaskMessage

_METHODS = ("on_submit", "before", "around", "after", "on_retry", "on_death", "on_cancel", "close")
_Entered = list[tuple[Hook, AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]]


class Chain:
    """The hooks of one task type, in their order. Thread-safe."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        #: By method, the hooks that override it.
        self._of = {
            method: tuple(hook for hook in hooks if getattr(type(hook), method) is not getattr(Hook, method))
            for method in _METHODS
        }

    def submitting(self, task: TaskMessage) -> TaskMessage:
        """Call `on_submit`; returns the task with the trace context that the hooks leave."""
        carried = dict(task.trace)
        self._call("on_submit", TaskInfo.of(task), carried)
        return _carrying(task, carried)

    async def submitting_async(self, task: TaskMessage) -> TaskMessage:
        """As `submitting`, on an event loop."""
        carried = dict(task.trace)
        await self._call_async("on_submit", TaskInfo.of(task), carried)
        return _carrying(task, carried)

    def before(self, attempt: AttemptInfo) -> None:
        """Call `before`."""
        self._call("before", attempt)

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        """Call `after`, the last hook first; then what its outcome asks for."""
        self._call("after", attempt, end, backwards=True)
        if end.outcome == "retried":
            self._call("on_retry", attempt, end)
        elif end.outcome in {"failed", "dead"}:
            self.on_death(attempt.task, _reason(end))
        elif end.outcome == "cancelled":
            self.on_cancel(attempt.task)

    def on_death(self, task: TaskInfo, reason: str) -> None:
        """Call `on_death`."""
        self._call("on_death", task, reason)

    def on_cancel(self, task: TaskInfo) -> None:
        """Call `on_cancel`."""
        self._call("on_cancel", task)

    async def on_cancel_async(self, task: TaskInfo) -> None:
        """Call `on_cancel` on an event loop."""
        await self._call_async("on_cancel", task)

    def close(self) -> None:
        """Call `close`, the last hook first."""
        self._call("close", backwards=True)

    def around(
        self, function: Callable[[Any, Any], Any], attempt: AttemptInfo, *, interrupted: Callable[[], bool]
    ) -> Callable[[Any, Any], Any]:
        """Put a handler's function into the hooks' context managers, the first hook outermost.

        Args:
            function: of the handler.
            attempt: the attempt.
            interrupted: whether the attempt is to end: an interruption that is raised in a hook is the handler's.
        """
        if not self._of["around"]:
            return function
        if inspect.iscoroutinefunction(function):

            async def hooked_coroutine(payload: Any, ctx: Any) -> Any:
                entered: _Entered = []
                error: BaseException | None = None
                try:
                    await self._enter_async(attempt, entered, interrupted)
                    return await function(payload, ctx)
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    for hook, manager in reversed(entered):
                        with _kept(hook, "around", interrupted):
                            if isinstance(manager, AbstractAsyncContextManager):
                                await manager.__aexit__(*_exit_arguments(error))
                            else:
                                manager.__exit__(*_exit_arguments(error))

            return hooked_coroutine

        def hooked(payload: Any, ctx: Any) -> Any:
            entered: _Entered = []
            error: BaseException | None = None
            try:
                self._enter(attempt, entered, interrupted)
                return function(payload, ctx)
            except BaseException as raised:
                error = raised
                raise
            finally:
                for hook, manager in reversed(entered):
                    with _kept(hook, "around", interrupted):
                        if isinstance(manager, AbstractAsyncContextManager):
                            wait_for(manager.__aexit__(*_exit_arguments(error)))
                        else:
                            manager.__exit__(*_exit_arguments(error))

        return hooked

    def _enter(self, attempt: AttemptInfo, entered: _Entered, interrupted: Callable[[], bool]) -> None:
        for hook in self._of["around"]:
            with _kept(hook, "around", interrupted):
                manager = hook.around(attempt)
                if isinstance(manager, AbstractAsyncContextManager):
                    wait_for(manager.__aenter__())
                else:
                    manager.__enter__()
                entered.append((hook, manager))

    async def _enter_async(self, attempt: AttemptInfo, entered: _Entered, interrupted: Callable[[], bool]) -> None:
        for hook in self._of["around"]:
            with _kept(hook, "around", interrupted):
                manager = hook.around(attempt)
                if isinstance(manager, AbstractAsyncContextManager):
                    await manager.__aenter__()
                else:
                    manager.__enter__()
                entered.append((hook, manager))

    def _call(self, method: str, *args: Any, backwards: bool = False) -> None:
        for hook in reversed(self._of[method]) if backwards else self._of[method]:
            with _kept(hook, method):
                answer = getattr(hook, method)(*args)
                if inspect.isawaitable(answer):
                    wait_for(answer)

    async def _call_async(self, method: str, *args: Any) -> None:
        for hook in self._of[method]:
            with _kept(hook, method):
                answer = getattr(hook, method)(*args)
                if inspect.isawaitable(answer):
                    await bounded(answer)


class Hooks:
    """The hooks of a deployment: false where there are none, so that nothing needs to be prepared for them."""

    def __init__(self, declared: Iterable[Hook] = (), by_type: Mapping[str, Sequence[Hook]] | None = None) -> None:
        """Take hooks over.

        Args:
            declared: pipeline.toml's, for all tasks.
            by_type: those of task types, which come after them.
        """
        declared, by_type = tuple(declared), by_type or {}
        self._all = Chain(declared)
        self._by_type = {task_type: Chain((*declared, *own)) for task_type, own in by_type.items()}
        self._once = Chain(tuple(dict.fromkeys((*declared, *(hook for own in by_type.values() for hook in own)))))
        self._any = bool(declared or by_type)

    def __bool__(self) -> bool:
        return self._any

    def of(self, task_type: str) -> Chain:
        """The hooks of a task type."""
        return self._by_type.get(task_type, self._all)

    def submitting(self, task: TaskMessage) -> TaskMessage:
        """Call `on_submit` of the task's type; returns the task with the trace context that the hooks leave."""
        return self.of(task.task_type).submitting(task) if self._any else task

    async def submitting_async(self, task: TaskMessage) -> TaskMessage:
        """As `submitting`, on an event loop."""
        return await self.of(task.task_type).submitting_async(task) if self._any else task

    def close(self) -> None:
        """Close each hook once."""
        self._once.close()


@contextmanager
def _kept(hook: Hook, method: str, interrupted: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Keep what a hook raises from the task; but an interruption that meets the hook is the handler's."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and interrupted():
            raise
        failed(hook, method, error)


def _exit_arguments(error: BaseException | None) -> tuple[Any, Any, Any]:
    """The arguments of `__exit__`."""
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


def _carrying(task: TaskMessage, carried: Mapping[str, str]) -> TaskMessage:
    """The task with a trace context, where it is a valid one."""
    context = trace.context(carried)
    return task if not context or context == task.trace else replace(task, trace=context)


def _reason(end: AttemptEnd) -> str:
    return f"{end.error.type}: {end.error.message}" if end.error is not None else end.outcome
