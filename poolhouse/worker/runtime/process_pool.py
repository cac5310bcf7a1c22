"""Handlers that hold the interpreter (`cpu=True`) run in processes of their own, which can be ended.

A process is started when one is needed, serves one task at a time and is kept for the next. It talks over a pipe:
progress and follow-up tasks come out, an interruption goes in and is raised at the handler's next checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from poolhouse.pipeline import json_values
from poolhouse.pipeline import settings as settings_module
from poolhouse.pipeline.errors import InvalidValue, PoolhouseError
from poolhouse.pipeline.store import ObjectStore, open_store
from poolhouse.worker import registry as registry_module
from poolhouse.worker.context import Logger
from poolhouse.worker.errors import Interrupted, Reject, Retry, TaskCancelled, TaskTimeout, WorkerStopping
from poolhouse.worker.runtime.running_task import Context, RunningTask

#: Idle processes kept for the next task.
KEPT_PROCESSES = os.cpu_count() or 1
#: Seconds between an interruption and the end of the process that does not heed it.
ENDED_AFTER_S = 2.0


class HandlerDied(PoolhouseError):
    """The handler's process ended without an answer: killed, out of memory, or a crash in native code."""


class HandlerError(PoolhouseError):
    """An error that the handler raised in its process, with its own traceback as text."""

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback


class ProcessRunner:
    """Keeps handler processes. Thread-safe."""

    def __init__(self, task_handlers: tuple[str, ...]) -> None:
        self._task_handlers = task_handlers
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def run(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        """Run the handler in a process; raises what it raised, `HandlerDied` or `Interrupted`."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or _Process(self._task_handlers)
        task.interrupt_handler = process.interrupt
        task.abandon_handler = process.kill
        try:
            value = process.call(task, payload, context)
        except HandlerDied:
            process.kill()
            if task.interruption is not None:
                raise task.interruption from None
            raise
        except BaseException:
            self._keep(process)
            raise
        self._keep(process)
        return value

    def stop(self) -> None:
        """End the idle processes; a running one ends with its task, or with this process."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def _keep(self, process: _Process) -> None:
        with self._lock:
            if len(self._idle) < KEPT_PROCESSES and not process.interrupted:
                self._idle.append(process)
                return
        process.kill()


class _Process:
    def __init__(self, task_handlers: tuple[str, ...]) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of gRPC's threads
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, task_handlers), daemon=True)
        self._process.start()
        theirs.close()
        self._sending = threading.Lock()
        self.interrupted = False

    def call(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        facts = {
            "task_id": context.task_id,
            "task_type": context.task_type,
            "queue": context.queue,
            "attempt": context.attempt,
            "submitted_at": context.submitted_at,
        }
        try:
            self._send(("run", facts, payload.model_dump(mode="json")))
            if task.interruption is not None:  # it came before the process could hear of it
                self.interrupt(task.interruption)
            while True:
                kind, *values = self._pipe.recv()
                if kind == "progress":
                    context.progress(*values)
                elif kind == "submit":
                    self._send(("submitted", *_submitted(context, *values)))
                elif kind == "returned":
                    return values[0]
                else:
                    raise _rebuild(values, task)
        except (EOFError, OSError):
            self._process.join(timeout=1)
            raise HandlerDied(f"the handler's process ended with exit code {self._process.exitcode}") from None

    def interrupt(self, interruption: Interrupted) -> None:
        self.interrupted = True
        try:
            self._send(("interrupt", type(interruption).__name__, str(interruption)))
        except OSError:
            return  # it has ended already
        if isinstance(interruption, TaskCancelled):
            timer = threading.Timer(ENDED_AFTER_S, self.kill)
            timer.daemon = True
            timer.start()

    def kill(self) -> None:
        self._process.kill()

    def _send(self, value: tuple[Any, ...]) -> None:
        with self._sending:
            self._pipe.send(value)


def _submitted(context: Context, task_type: str, fields: dict[str, Any], options: dict[str, Any]) -> tuple[bool, str]:
    try:
        return True, context.submit(task_type, fields, **options)
    except (ValueError, KeyError) as error:  # pydantic's ValidationError is a ValueError
        return False, f"{type(error).__name__}: {error}"


def _rebuild(values: list[Any], task: RunningTask) -> BaseException:
    type_name, message, traceback, extra = values
    if type_name == "Retry":
        return Retry(message, after_s=extra)
    if type_name == "Reject":
        return Reject(message)
    if type_name in _INTERRUPTIONS:
        return task.interruption or _INTERRUPTIONS[type_name](message)
    return HandlerError(type_name, message, traceback)


_INTERRUPTIONS: Mapping[str, type[Interrupted]] = {
    "TaskCancelled": TaskCancelled,
    "TaskTimeout": TaskTimeout,
    "WorkerStopping": WorkerStopping,
}


class _ChildContext:
    """`TaskContext` inside a handler process."""

    def __init__(self, facts: Mapping[str, Any], pipe: Connection, store: ObjectStore) -> None:
        self.task_id: str = facts["task_id"]
        self.task_type: str = facts["task_type"]
        self.queue: str = facts["queue"]
        self.attempt: int = facts["attempt"]
        self.submitted_at: datetime = facts["submitted_at"]
        self.store = store
        self._pipe = pipe
        self._interruption: Interrupted | None = None

    @property
    def log(self) -> Logger:
        import structlog  # noqa: PLC0415 - most handlers in processes compute and say nothing

        logger: Logger = structlog.get_logger().bind(
            task_id=self.task_id, task_type=self.task_type, queue=self.queue, attempt=self.attempt
        )
        return logger

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        self._pipe.send(("progress", done, total, note))

    def checkpoint(self) -> None:
        while self._interruption is None and self._pipe.poll():
            self._hear(self._pipe.recv())
        if self._interruption is not None:
            raise self._interruption

    def submit(
        self,
        task_type: str,
        payload: BaseModel | Mapping[str, Any],
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
    ) -> str:
        fields = payload.model_dump(mode="json") if isinstance(payload, BaseModel) else dict(payload)
        self._pipe.send(("submit", task_type, fields, {"queue": queue, "delay_s": delay_s, "run_at": run_at}))
        while True:
            message = self._pipe.recv()
            if message[0] == "submitted":
                _, done, value = message
                if not done:
                    raise ValueError(value)
                return str(value)
            self._hear(message)

    def _hear(self, message: tuple[Any, ...]) -> None:
        if message[0] == "interrupt":
            self._interruption = _INTERRUPTIONS.get(message[1], Interrupted)(message[2])


def _serve(pipe: Connection, task_handlers: tuple[str, ...]) -> None:
    """A handler process's life: take a task, answer, until the pipe closes."""
    import traceback  # noqa: PLC0415 - only needed here, in the child

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = settings_module.load()
    store = open_store(settings)
    registry = registry_module.load(task_handlers)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return
        if message[0] != "run":
            continue  # an interruption of a task that has ended meanwhile
        _, facts, payload = message
        handler = registry[facts["task_type"]]
        try:
            value = handler.function(handler.parse(payload), _ChildContext(facts, pipe, store))
            try:
                value = from_json(json_values.encode(value, what="the result"))
            except InvalidValue as error:
                raise Reject(f"the handler returned, but its result can't be kept: {error}") from None
            pipe.send(("returned", value))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is told to the worker
            extra = error.after_s if isinstance(error, Retry) else None
            pipe.send(("raised", type(error).__name__, str(error), traceback.format_exc(), extra))
