"""What a handler is given besides its payload."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from pydantic import BaseModel

from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import P, R, TaskType
from poolhouse.pipeline.groups.group import WaitFor

if TYPE_CHECKING:
    from poolhouse.pipeline.groups.results import MemberResult
    from poolhouse.pipeline.store import ObjectStore  # which imports Google's clients


_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Logger(Protocol):
    """The methods of a structlog logger that handlers use."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class TaskContext(Protocol):
    """One attempt of one task, as its handler sees it. Every method may be called from any thread."""

    @property
    def task_id(self) -> str: ...
    @property
    def task_type(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def attempt(self) -> int:
        """The attempt's number, from 1; attempts before a replay count."""

    @property
    def submitted_at(self) -> datetime: ...
    @property
    def store(self) -> ObjectStore:
        """The bucket. Full object names: use `poolhouse.pipeline.names` for the layout."""

    @property
    def log(self) -> Logger:
        """A logger whose lines carry the task's id, type, queue and attempt."""

    def now(self) -> datetime:
        """The time, in UTC: the clock of the pipeline, which a test moves (`poolhouse.testing`)."""

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Report how far the task is; cheap, call it as often as you like: at most one write a second comes of it.

        nan and infinity mean unknown.
        """

    def checkpoint(self) -> None:
        """Go on, or raise.

        Long handlers call it often (it costs no I/O).

        Raises:
            TaskCancelled, WorkerStopping, TaskTimeout, LeaseLost: all `Interrupted`; let them pass.
        """

    @overload
    def step(
        self,
        name: str,
        function: Callable[_Given, Coroutine[Any, Any, _Result]],
        /,
        *args: _Given.args,
        **named: _Given.kwargs,
    ) -> Coroutine[Any, Any, _Result]: ...
    @overload
    def step(
        self, name: str, function: Callable[_Given, _Result], /, *args: _Given.args, **named: _Given.kwargs
    ) -> _Result: ...
    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        """Return what the function returns; or what it returned in an earlier attempt, where the record has that.

        A step that was recorded never runs again, whether its task was retried, stopped, killed or replayed. It is
        recorded before the next one begins if a second has passed since the last write of the record, else with those
        that follow within that second. Each begins with a checkpoint.

            text = ctx.step("extract", extract, payload.name)
            pages = await ctx.step("render", render, text)  # in an async handler, of an async function

        Args:
            name: of the step, unlike all others of the task.
            function: what to do; its return annotation is the result's type, a model or whatever JSON has a form for.
            *args: handed to the function.
            **named: handed to the function.

        Raises:
            ValueError: the name can't be, or was used before in this attempt.
            TypeError: an async handler gives an ordinary function.
            Reject: the result can't be kept.
            StepChanged: the recorded result does not fit what the function returns now.
        """

    #: Where a loop is: any small JSON value (16 KiB). Set it as often as you like: it is written with progress, at most
    #: once a second, and at each end of an attempt. The next attempt finds it; None before it was set.
    cursor: Any

    @overload
    def submit(
        self,
        task_type: TaskType[P, Any],
        payload: P,
        *,
        queue: str | None = ...,
        delay_s: float | None = ...,
        run_at: datetime | None = ...,
    ) -> str: ...
    @overload
    def submit(self, task_type: TaskRef[Any]) -> str: ...
    @overload
    def submit(
        self,
        task_type: str,
        payload: BaseModel | Mapping[str, Any],
        *,
        queue: str | None = ...,
        delay_s: float | None = ...,
        run_at: datetime | None = ...,
    ) -> str: ...
    def submit(
        self,
        task_type: str | TaskType[Any, Any] | TaskRef[Any],
        payload: BaseModel | Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
    ) -> str:
        """Submit a follow-up task, published only once this task has succeeded; returns its id.

        A redelivery of this task publishes the same follow-ups, not others.

        Args:
            task_type: the decorated handler, or the task type's name; or a task with what follows it
                (`fetch.ref(…).then(parse)`), and no other argument.
            payload: what it is given.
            queue: instead of the task type's own.
            delay_s: seconds from this call before which it does not run.
            run_at: the time, with its zone, before which it does not run.

        Raises:
            pydantic.ValidationError: the payload does not fit the task type.
            KeyError: no such task type or queue.
            ValueError: the payload holds what JSON has no form for, or is larger than a message may be; or the time is
                none, or more than ten years ahead.
        """

    def group(
        self,
        members: Iterable[TaskRef[Any]],
        *,
        then: TaskRef[Any] | None = None,
        on_failure: TaskRef[Any] | None = None,
        wait_for: WaitFor = "succeeded",
    ) -> str:
        """Submit tasks that belong together, published only once this task has succeeded; returns the group's id.

        A redelivery of this task publishes the same tasks, not others. The members are taken one after the other and
        not held in memory: give a generator where there are many.

        Args:
            members: up to 100,000 tasks, such as `render.ref(Page(number=1))`.
            then: the join: it runs once, when all members have succeeded (or have been given up: cancelled, discarded).
                Its handler reads their results with `group_results`. A member that died makes it wait for a replay.
            on_failure: runs once, at the first member that fails for good.
            wait_for: `ended` lets the join run once all members have ended, however.

        Raises:
            ValueError: a task can't be such a member, join or follow-up, or there are too many; or this task keeps no
                record (`record=False`).
            poolhouse.pipeline.errors.StoreUnavailable: storage does not answer.
        """

    @overload
    def group_results(self, task_type: TaskType[Any, R]) -> Iterator[MemberResult[R]]: ...
    @overload
    def group_results(self, task_type: None = ...) -> Iterator[MemberResult[Any]]: ...
    def group_results(self, task_type: TaskType[Any, Any] | None = None) -> Iterator[MemberResult[Any]]:
        """Yield how the members of the group ended whose join this task is, in their order; reads a few at a time.

        Args:
            task_type: of the members: gives the results their type.

        Raises:
            RuntimeError: this task is no join.
            poolhouse.pipeline.errors.StoreUnavailable: storage does not answer.
        """
