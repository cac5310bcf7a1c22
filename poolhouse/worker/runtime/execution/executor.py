"""Running a handler: in the thread at hand, on the event loop, or in a process of its own."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

from pydantic import BaseModel, ValidationError

from poolhouse.pipeline import logs
from poolhouse.pipeline.tasks import current_task
from poolhouse.worker.errors import TaskCancelled
from poolhouse.worker.runtime import endings
from poolhouse.worker.runtime.endings import Cancelled, Ending
from poolhouse.worker.runtime.execution import children
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.execution.event_loop import EventLoop
from poolhouse.worker.runtime.execution.interruption import interruptible
from poolhouse.worker.runtime.execution.process_pool import ProcessRunner
from poolhouse.worker.runtime.running_task import RunningTask


class Executor:
    """Runs handlers of all kinds; one for a worker."""

    def __init__(self, *, task_handlers: tuple[str, ...], hooks: tuple[str, ...] = ()) -> None:
        """Start neither loop nor processes before a handler needs them.

        Args:
            task_handlers: the modules that a handler process imports.
            hooks: those of pipeline.toml, which a handler process has too.
        """
        self._lock = threading.Lock()
        self._loop: EventLoop | None = None
        self._processes = ProcessRunner(task_handlers, hooks)

    def run(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        """Call the handler and return what it returns; raises what it raises, or `Interrupted`."""
        if task.handler.cpu:
            # As it came: not every model that is dumped and parsed again is the same.
            return self._processes.run(task, task.payload, context)
        return self.run_here(task, payload, context)

    def run_here(self, task: RunningTask, payload: BaseModel, context: Context) -> Any:
        """Call the handler in this process: in the thread at hand, or on the event loop. Raises as `run`."""
        function = task.handler.function
        if task.hooks is not None:
            function = task.hooks.around(function, task.info, interrupted=lambda: task.interruption is not None)
        with logs.Bound(context.fields):
            if task.handler.is_async:
                return self._started_loop().run(task, current_task.call(function, payload, context))
            try:
                with children.Alone(), interruptible() as task.interrupt_handler:
                    # What a handler sets in its context, such as decimal's precision, is not the thread's next one's.
                    return contextvars.copy_context().run(current_task.call, function, payload, context)
            finally:
                logs.end_printed()

    def stop(self) -> None:
        """End the processes and the loop."""
        self._processes.stop()
        if self._loop is not None:
            self._loop.stop()

    def _started_loop(self) -> EventLoop:
        with self._lock:
            if self._loop is None or (self._loop.lost and self._loop.blocked):
                self._loop = EventLoop()
            return self._loop


def run_handler(executor: Executor, running: RunningTask, context: Context) -> Ending:
    """Run the handler of a claimed task; what it raises is an ending too."""
    try:
        payload = running.handler.parse(running.payload)
    except ValidationError as error:
        return endings.invalid_payload(error)
    except BaseException as error:  # noqa: BLE001 - a mistake in a validator
        return endings.raised(error, running, context)
    try:
        value = executor.run(running, payload, context)
        if running.told and isinstance(running.interruption, TaskCancelled):
            return Cancelled()  # what it returns in spite of that is no whole result
        return endings.returned(value)  # user code too, where the value is a generator or a model with serializers
    except BaseException as error:  # noqa: BLE001 - sys.exit() too, and panics of native code
        return endings.raised(error, running, context)
