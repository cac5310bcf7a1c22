"""The inside of a handler process: take a task, run its handler, answer, until the worker closes the pipe."""

from __future__ import annotations

import contextvars
import copy
import faulthandler
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import TaskType, name_of
from poolhouse.pipeline import json_values, logs, secret_values
from poolhouse.pipeline.config import settings as settings_module
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import InvalidValue
from poolhouse.pipeline.groups.group import Group, WaitFor
from poolhouse.pipeline.groups.results import MemberResult
from poolhouse.pipeline.hooks import AttemptInfo, Hooks, TaskInfo
from poolhouse.pipeline.hooks import load as load_hooks
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.store import ObjectStore, open_store
from poolhouse.pipeline.tasks import current_task, large_values
from poolhouse.pipeline.tasks.records import Progress, Step
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.worker import registry as registry_module
from poolhouse.worker.context import Logger
from poolhouse.worker.errors import (
    Interrupted,
    LeaseLost,
    Reject,
    Retry,
    TaskCancelled,
    TaskTimeout,
    WorkerStopping,
    meaning_of,
    unreadable,
)
from poolhouse.worker.group_calls import group_of, results_of
from poolhouse.worker.registry import Handler, Registry
from poolhouse.worker.runtime.execution import children
from poolhouse.worker.runtime.execution.interruption import interruptible
from poolhouse.worker.runtime.execution.process_state import ProcessState
from poolhouse.worker.steps import Steps, cursor_value, refuse_inside, unrecorded

#: What travels by its name.
INTERRUPTIONS: Mapping[str, type[Interrupted]] = {
    kind.__name__: kind for kind in (TaskCancelled, TaskTimeout, WorkerStopping, LeaseLost)
}
#: What the worker refuses with what a context asks; anything else is a mistake of ours.
_REFUSALS: Mapping[str, type[Exception]] = {"KeyError": KeyError, "ValueError": ValueError}


def serve(
    pipe: Connection, task_handlers: tuple[str, ...], hook_names: tuple[str, ...], environment: Mapping[str, str]
) -> None:
    """A handler process's life.

    Args:
        pipe: to the worker.
        task_handlers: the modules to import.
        hook_names: the hooks of pipeline.toml.
        environment: the variables as they were when the worker began: its other handlers may have changed them since.
    """
    os.setsid()  # a group of its own: it can be ended with all that it starts, and Ctrl-C is for the worker alone
    children.handle_signals(lambda number, frame: None)  # the worker says when to stop
    os.register_at_fork(after_in_child=pipe.close)  # a handler's own children have no part in the conversation
    os.environ.clear()
    os.environ.update(environment)
    inside = _Inside(pipe)
    try:
        settings = settings_module.load()
        secret_values.known.learn(settings.topology.all_secrets, environment)
        logs.configure(level=settings.log_level, format=settings.log_format)
        logs.capture_output(format=settings.log_format)
        faulthandler.enable(file=sys.__stderr__ or 2)
        store = open_store(settings)
        registry = registry_module.load(task_handlers)
        hooks = registry.hooks(load_hooks(hook_names))
        initial_state = ProcessState()
    except BaseException as error:  # noqa: BLE001 - whatever a module raises while it is imported
        inside.tasks.get()
        inside.send(("raised", *_told(error), False))
        return
    while True:
        call = inside.tasks.get()
        # In a context of its own: what a handler sets in one, such as decimal's precision, is not the next one's.
        answer = contextvars.copy_context().run(
            _run,
            call,
            inside,
            store=store,
            registry=registry,
            topology=settings.topology,
            hooks=hooks,
            now=settings.clock,
        )
        clean = not children.any_left()
        try:
            initial_state.restore()
        except Exception:  # noqa: BLE001 - whatever can't be put back: this process is not used again
            clean = False
        _answer(inside, answer, clean)


class _Call:
    """One attempt that the worker asks for, and what it says to it meanwhile."""

    def __init__(self, facts: Mapping[str, Any], payload: Mapping[str, Any]) -> None:
        self.facts = facts
        self.payload = payload
        self.interruption: Interrupted | None = None
        #: Raises a time limit in the handler's thread.
        self.raise_in_handler: Callable[[Interrupted], None] = lambda interruption: None
        #: Answers to what the context asks: what it is to raise, if anything, and the text or the answer.
        self.answers: queue.SimpleQueue[tuple[str | None, Any]] = queue.SimpleQueue()
        self.told = False
        self.ended = False

    def interrupt(self, interruption: Interrupted) -> None:
        self.interruption = interruption
        self.raise_in_handler(interruption)


class _Inside:
    """The process's end of the pipe. A thread of its own reads it, so that the worker is heard while a handler runs."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self.tasks: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="pipe", daemon=True).start()

    def send(self, message: tuple[Any, ...]) -> None:
        with self._sending:
            self._pipe.send(message)

    def _read(self) -> None:
        call: _Call | None = None
        while True:
            try:
                kind, *values = self._pipe.recv()
            except (EOFError, OSError):
                _end()  # the worker has ended: the result is not needed, nor what the handler has started
            if kind == "run":
                call = _Call(*values)
                self.tasks.put(call)
            elif call is not None and kind == "interrupt":
                call.interrupt(INTERRUPTIONS.get(values[0], Interrupted)(values[1]))
            elif call is not None and kind == "answer":
                call.answers.put((values[0], values[1]))


def _end() -> NoReturn:
    children.end_below(os.getpid())
    os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


class _ChildContext:
    """`TaskContext` inside a handler process."""

    def __init__(
        self,
        call: _Call,
        inside: _Inside,
        *,
        store: ObjectStore,
        registry: Registry,
        topology: Topology,
        now: Callable[[], datetime],
    ) -> None:
        self.task_id: str = call.facts["task_id"]
        self.task_type: str = call.facts["task_type"]
        self.queue: str = call.facts["queue"]
        self.attempt: int = call.facts["attempt"]
        self.submitted_at: datetime = call.facts["submitted_at"]
        self.store = store
        self._call = call
        self._inside = inside
        self._registry = registry
        self._topology = topology
        self._now = now
        self._asking = threading.Lock()
        self._cursor: Any = call.facts["cursor"]

    @property
    def fields(self) -> dict[str, Any]:
        """What its log lines carry."""
        own = {"task_id": self.task_id, "task_type": self.task_type, "queue": self.queue, "attempt": self.attempt}
        return {**own, **self._call.facts.get("trace_fields", {})}

    @property
    def log(self) -> Logger:
        import structlog  # noqa: PLC0415 - most handlers in processes compute and say nothing

        logger: Logger = structlog.get_logger().bind(**self.fields)
        return logger

    def now(self) -> datetime:
        return self._now()

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        valid = Progress(done=done, total=total, note=note, at=self._now())
        if not self._call.ended:
            self._inside.send(("progress", valid.done, valid.total, valid.note))

    def checkpoint(self) -> None:
        if self._call.interruption is not None:
            self._call.told = True
            raise self._call.interruption

    def submit(
        self,
        task_type: str | TaskType[Any, Any] | TaskRef[Any],
        payload: BaseModel | Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
    ) -> str:
        refuse_inside("ctx.submit")
        if isinstance(task_type, TaskRef):
            return str(self._ask("submit linked", task_type.body()))
        task_type = name_of(task_type)
        fields = self._registry[task_type].payload_of({} if payload is None else payload)
        return str(self._ask("submit", task_type, fields, {"queue": queue, "delay_s": delay_s, "run_at": run_at}))

    def group(
        self,
        members: Iterable[TaskRef[Any]],
        *,
        then: TaskRef[Any] | None = None,
        on_failure: TaskRef[Any] | None = None,
        wait_for: WaitFor = "succeeded",
    ) -> str:
        refuse_inside("ctx.group")
        new: Group = self._ask("new group")
        # The members go to the bucket from here: the pipe to the worker is no place for 100,000 of them.
        written = group_of(
            new,
            members,
            then=then,
            on_failure=on_failure,
            wait_for=wait_for,
            registry=self._registry,
            topology=self._topology,
            store=self.store,
        )
        self._ask("add group", written)
        return written.group_id

    def group_results(self, task_type: TaskType[Any, Any] | None = None) -> Iterator[MemberResult[Any]]:
        return results_of(self._call.facts["group_id"], task_type, store=self.store, task_ids=load_task_ids(self.store))

    @cached_property
    def steps(self) -> Steps:
        """The steps of this attempt."""
        return Steps(_ChildLedger(self._call, self.store, self._ask), checkpoint=self.checkpoint, now=self._now)

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        return self.steps.run(name, function, args, named)

    @property
    def cursor(self) -> Any:
        return copy.deepcopy(self._cursor)

    @cursor.setter
    def cursor(self, value: Any) -> None:
        self._cursor = cursor_value(value)
        if not self._call.ended:
            self._inside.send(("cursor", self._cursor))

    def _ask(self, *question: Any) -> Any:
        """Ask the worker, and wait for its answer. Raises what it refuses with."""
        with self._asking:
            if self._call.ended:
                raise RuntimeError("the attempt has ended: nothing can be submitted or recorded for it any more")
            self._inside.send(question)
            refusal, answer = self._call.answers.get()
        if refusal is not None:
            raise _REFUSALS.get(refusal, RuntimeError)(answer)
        return answer


class _ChildLedger:
    """`Ledger` inside a handler process: the worker has the record."""

    def __init__(self, call: _Call, store: ObjectStore, ask: Callable[..., str]) -> None:
        self._recorded: bool = call.facts["recorded"]
        self._task_type: str = call.facts["task_type"]
        self._steps: dict[str, Step] = {step.name: step for step in call.facts["steps"]}
        self._store = store
        self._ask = ask

    def find(self, name: str) -> Step | None:
        if not self._recorded:
            raise RuntimeError(unrecorded(self._task_type))
        return self._steps.get(name)

    def load(self, step: Step) -> bytes:
        if step.result_object is None:
            return to_json(step.result)
        return large_values.read_bytes(self._store, step.result_object)

    def record(self, name: str, result: bytes, *, started_at: datetime) -> None:
        self._ask("step", name, result, started_at)


def _run(
    call: _Call,
    inside: _Inside,
    *,
    store: ObjectStore,
    registry: Registry,
    topology: Topology,
    hooks: Hooks,
    now: Callable[[], datetime],
) -> tuple[Any, ...]:
    """Run a handler; whatever comes of it, as what is told to the worker."""
    context = _ChildContext(call, inside, store=store, registry=registry, topology=topology, now=now)
    handler = registry[context.task_type]
    function = handler.function
    if hooks:
        function = hooks.of(context.task_type).around(
            function, _attempt(call, context), interrupted=lambda: call.interruption is not None
        )
    try:
        with children.Alone(), logs.Bound(context.fields), interruptible() as interrupt:
            call.raise_in_handler = interrupt
            try:
                value = current_task.call(function, handler.parse(call.payload), context)
            finally:
                logs.end_printed()
            try:
                value = from_json(json_values.encode(value, what="the result"))
            except InvalidValue as error:
                raise Reject(f"the handler returned, but its result can't be kept: {error}") from None
        if call.told and isinstance(call.interruption, TaskCancelled):
            raise call.interruption  # what it returns in spite of that is no whole result
        return ("returned", value)
    except BaseException as error:  # noqa: BLE001 - sys.exit() too: whatever a handler raises is told to the worker
        try:
            return ("raised", *_told(error, handler))
        except BaseException as failure:  # noqa: BLE001 - user code: an error may do anything when it is looked at
            return ("raised", *_told(unreadable(failure)))
    finally:
        call.ended = True


def _attempt(call: _Call, context: _ChildContext) -> AttemptInfo:
    """The attempt as hooks see it."""
    task = TaskInfo(
        task_id=context.task_id,
        task_type=context.task_type,
        queue=context.queue,
        submitted_at=context.submitted_at,
        trace=call.facts["trace"],
        _payload=call.payload,
    )
    return AttemptInfo(task=task, number=context.attempt, started_at=call.facts["started_at"])


def _answer(inside: _Inside, answer: tuple[Any, ...], clean: bool) -> None:
    try:
        inside.send((*answer, clean))
    except (EOFError, OSError):
        _end()
    except Exception as error:  # noqa: BLE001 - a result that can't be pickled, for whatever reason
        inside.send(("raised", *_told(error), clean))


def _told(error: BaseException, handler: Handler | None = None) -> tuple[str, str, str, str, float | None]:
    """The error as values that always can be sent: kind, type, message, traceback, and a retry's time."""
    meant = meaning_of(error)
    kind, after_s = "error", None
    if isinstance(meant, Retry):
        kind, after_s = "retry" if meant.counts is not False else "retry uncounted", getattr(meant, "after_s", None)
    elif isinstance(meant, Reject):
        kind = "reject"
    elif isinstance(meant, Interrupted):
        kind = "interrupted"
    elif handler is not None and handler.rejects(meant):
        kind = "error rejected"
    try:
        lines = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - such as a recursion while the traceback is made
        lines = f"{type(error).__name__}: {clean_text(error)}"
    return kind, type(meant).__name__, clean_text(meant), lines, after_s
