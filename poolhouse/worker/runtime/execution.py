"""Running a handler: in the thread at hand, on the event loop, or in a process of its own."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel

from poolhouse.worker.errors import Interrupted, TaskTimeout
from poolhouse.worker.runtime.process_pool import ProcessRunner
from poolhouse.worker.runtime.running_task import Context, RunningTask


class Executor:
    """Runs handlers of all kinds; one for a worker."""

    def __init__(self, *, task_handlers: tuple[str, ...]) -> None:
        """Starts neither loop nor processes before a handler needs them.

        Args:
            task_handlers: the modules that a handler process imports.
        """
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._processes = ProcessRunner(task_handlers)

    def run(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        """Call the handler and return what it returns; raises what it raises, or `Interrupted`."""
        if task.handler.cpu:
            return self._processes.run(task, payload, context)
        if task.handler.is_async:
            return self._run_async(task, payload, context)
        with _interruptible_thread(task):
            return task.handler.function(payload, context)

    def stop(self) -> None:
        """End the processes and the loop."""
        self._processes.stop()
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join(timeout=1)
            if not self._loop_thread.is_alive():
                self._loop.close()

    def _run_async(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(
            _without_exit(task.handler.function(payload, context)), self._started_loop()
        )

        def interrupt(_: Interrupted) -> None:
            future.cancel()

        task.interrupt_handler = interrupt
        if task.interruption is not None:  # it came before we could hear of it
            future.cancel()
        try:
            return future.result()
        except CancelledError:
            raise task.interruption or Interrupted("the handler cancelled itself") from None

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop_thread = threading.Thread(target=self._loop.run_forever, name="handlers-loop", daemon=True)
                self._loop_thread.start()
            return self._loop


async def _without_exit(handler: Coroutine[Any, Any, Any]) -> Any:
    """The handler's result; `sys.exit()` in it is an error like any other, where asyncio would end the loop of all."""
    try:
        return await handler
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the handler raised {type(error).__name__}: {error}") from error


@contextmanager
def _interruptible_thread(task: RunningTask) -> Iterator[None]:
    """While inside, a time limit raises `TaskTimeout` in this thread, even between two checkpoints.

    Python raises it at the next bytecode: a handler that waits in C code hears of it when that returns.
    """
    thread_id = threading.get_ident()
    lock = threading.Lock()
    inside, raised = True, False

    def interrupt(interruption: Interrupted) -> None:
        nonlocal raised
        if not isinstance(interruption, TaskTimeout):
            return  # the handler sees it at a checkpoint, where it can tidy up
        with lock:
            if inside:
                raised = True
                _raise_in(thread_id, TaskTimeout)

    task.interrupt_handler = interrupt
    try:
        yield
    finally:
        with lock:
            inside = False
        if raised:
            _forget_pending(thread_id)


class _Forgotten(BaseException):
    """Takes the place of an exception that has come too late."""


def _forget_pending(thread_id: int) -> None:
    """Let no exception be pending in this thread.

    Setting none (NULL) would do it too, but until Python 3.13 leaves the interpreter's flag of pending work up for
    good: every thread then takes the slow way at every call and loop, and one that is traced (coverage, a profiler)
    hangs. What is raised puts the flag down.
    """
    try:
        _raise_in(thread_id, _Forgotten)
        while True:
            pass
    except _Forgotten:
        return


def _raise_in(thread_id: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(error))
