"""Handlers that hold the interpreter (`cpu=True`) run in processes of their own, which can be ended.

A process is started when one is needed, serves one task at a time and is kept for the next. It talks over a pipe:
progress and follow-up tasks come out, an interruption goes in and is raised at the handler's next checkpoint. It leads
a process group, so that what its handler has started ends with it.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.worker.errors import Interrupted, LeaseLost, Reject, Retry, TaskCancelled
from poolhouse.worker.runtime.execution import children
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.execution.handler_process import INTERRUPTIONS, serve
from poolhouse.worker.runtime.running_task import RunningTask

#: Idle processes kept for the next task.
KEPT_PROCESSES = os.cpu_count() or 1
#: Seconds between an interruption and the end of the process that does not heed it.
ENDED_AFTER_S = 2.0
#: Seconds between two looks at whether a silent process is still alive: children that it has forked may hold its pipe.
ALIVE_S = 1.0


class HandlerDied(PoolhouseError):
    """The handler's process ended without an answer: killed, out of memory, or a crash in native code."""


class HandlerError(PoolhouseError):
    """An error that the handler raised in its process, with its own traceback as text."""

    def __init__(self, type_name: str, message: str, traceback: str, *, rejected: bool = False) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback
        #: Whether the handler declares that no retry helps against it: its class is known in its process only.
        self.rejected = rejected


class ProcessRunner:
    """Keeps handler processes. Thread-safe."""

    def __init__(self, task_handlers: tuple[str, ...], hooks: tuple[str, ...] = ()) -> None:
        self._task_handlers = task_handlers
        self._hooks = hooks
        self._environment = dict(os.environ)
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        atexit.register(self.stop)  # else multiprocessing would wait for processes that are no daemons

    def run(self, task: RunningTask, payload: Mapping[str, Any], context: Context) -> Any:
        """Run the handler in a process; raises what it raised, `HandlerDied` or `Interrupted`."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        if process is None:
            process = _Process(self._task_handlers, self._hooks, self._environment)
            with self._lock:
                self._all.add(process)
        task.interrupt_handler = lambda interruption: process.interrupt(task, interruption)
        task.abandon_handler = lambda: process.abandon(task)
        try:
            return process.call(task, payload, context)
        except HandlerDied:
            if task.interruption is not None:
                raise task.interruption from None
            raise
        finally:
            self._keep(process)

    def stop(self) -> None:
        """End all processes, with what their handlers have started."""
        atexit.unregister(self.stop)
        with self._lock:
            self._idle.clear()
            everyone, self._all = self._all, set()
        for process in everyone:
            process.kill()

    def _keep(self, process: _Process) -> None:
        with self._lock:
            if process.reusable and process in self._all and len(self._idle) < KEPT_PROCESSES:
                self._idle.append(process)
                return
            self._all.discard(process)
        process.end()


class _Process:
    def __init__(self, task_handlers: tuple[str, ...], hooks: tuple[str, ...], environment: Mapping[str, str]) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of gRPC's threads
        self._pipe, theirs = spawn.Pipe()
        _pipes.add(self._pipe)
        # No daemon: those may have no children, and handlers may use pools.
        self._process = spawn.Process(target=serve, args=(theirs, task_handlers, hooks, environment), daemon=False)
        self._process.start()
        theirs.close()
        self._sending = threading.Lock()
        #: The task that it runs, and guards it: an interruption that comes late must not meet the next task.
        self._task: RunningTask | None = None
        self._turn = threading.Lock()
        #: Whether it may run another task: it has answered, and was left as it was found.
        self.reusable = False

    def call(self, task: RunningTask, payload: Mapping[str, Any], context: Context) -> Any:
        self.reusable = False
        with self._turn:
            self._task = task
        try:
            facts = {**context.fields, **_facts(task)}
            if context.trace_fields:
                facts["trace_fields"] = context.trace_fields
            if task.hooks is not None:
                facts |= {"started_at": task.info.started_at, "trace": dict(task.trace)}
            self._send(("run", facts, dict(payload)))
            if task.interruption is not None:  # it came before the process could hear of it
                self.interrupt(task, task.interruption)
            while True:
                kind, *values = self._receive()
                if kind == "progress":
                    context.progress(*values)
                elif kind == "cursor":
                    task.set_cursor(values[0])
                elif kind == "submit":
                    task_type, fields, options = values
                    self._send(("answer", *_answered(context.submit, task_type, fields, named=options)))
                elif kind == "submit linked":
                    self._send(("answer", *_answered(context.submit_linked, *values)))
                elif kind == "new group":
                    self._send(("answer", *_answered(context.new_group)))
                elif kind == "add group":
                    self._send(("answer", *_answered(context.add_group, *values)))
                elif kind == "step":
                    self._send(("answer", *_recorded(context, *values)))
                else:
                    *values, clean = values
                    self.reusable = clean and task.interruption is None
                    if kind == "returned":
                        return values[0]
                    raise _rebuild(values, task)
        except (EOFError, OSError):
            raise HandlerDied(self._why()) from None
        finally:
            with self._turn:
                self._task = None

    def interrupt(self, task: RunningTask, interruption: Interrupted) -> None:
        """Let the handler's next checkpoint raise; if its result is not needed any more, end it soon."""
        with self._turn:
            if self._task is not task:
                return
            try:
                self._send(("interrupt", type(interruption).__name__, str(interruption)))
            except OSError:
                return  # it has ended already
        if isinstance(interruption, TaskCancelled | LeaseLost):
            timer = threading.Timer(ENDED_AFTER_S, self.abandon, (task,))
            timer.daemon = True
            timer.start()

    def abandon(self, task: RunningTask) -> None:
        """End it if it still runs this task."""
        with self._turn:
            if self._task is task:
                children.end_tree(self._pid)

    def kill(self) -> None:
        """End it with all that its handlers have started."""
        children.end_tree(self._pid)

    def end(self) -> None:
        """End it; no task may be waiting for its answer."""
        self.kill()
        self._process.join(timeout=1)
        self._pipe.close()

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def _receive(self) -> Any:
        while not self._pipe.poll(ALIVE_S):
            if not self._process.is_alive() and not self._pipe.poll():
                raise EOFError
        return self._pipe.recv()

    def _why(self) -> str:
        self._process.join(timeout=1)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"the handler's process ended with exit code {code}"
        hint = ": killed from outside, or out of memory" if -code == signal.SIGKILL else ""
        return f"the handler's process was ended by {signal.Signals(-code).name}{hint}"

    def _send(self, value: tuple[Any, ...]) -> None:
        with self._sending:
            self._pipe.send(value)


#: Our ends of the pipes. A handler's forked children must not hold them: a process that waits for the worker's end, and
#: ends itself then, would wait for theirs as well.
_pipes: weakref.WeakSet[Connection] = weakref.WeakSet()


def _close_pipes() -> None:
    for pipe in tuple(_pipes):
        pipe.close()


os.register_at_fork(after_in_child=_close_pipes)


def _facts(task: RunningTask) -> dict[str, Any]:
    """What the process's context knows of the record."""
    record = task.record
    return {
        "submitted_at": record.submitted_at,
        "group_id": record.group_id,
        "recorded": task.recorded,
        "steps": record.steps,
        "cursor": record.cursor,
    }


def _recorded(context: Context, name: str, result: bytes, started_at: datetime) -> tuple[str | None, str]:
    try:
        context.steps.ledger.record(name, result, started_at=started_at)
    except Interrupted:
        pass  # the process hears of it by itself, at its next checkpoint
    except RuntimeError as error:
        return "RuntimeError", str(error)
    return None, ""


def _answered(
    call: Callable[..., Any], *arguments: Any, named: Mapping[str, Any] | None = None
) -> tuple[str | None, Any]:
    """What a call of the context comes to: what the handler is to raise, if anything, and the text or the answer."""
    try:
        return None, call(*arguments, **(named or {}))
    except KeyError as error:
        return "KeyError", str(error.args[0])
    except ValueError as error:  # pydantic's ValidationError is one
        return "ValueError", str(error)


def _rebuild(values: list[Any], task: RunningTask) -> BaseException:
    kind, type_name, message, traceback, after_s = values
    if kind.startswith("retry"):
        return Retry(message, after_s=after_s, counts=kind != "retry uncounted")
    if kind == "reject":
        return Reject(message)
    if kind == "interrupted":
        return task.interruption or INTERRUPTIONS.get(type_name, Interrupted)(message)
    return HandlerError(type_name, message, traceback, rejected=kind == "error rejected")
