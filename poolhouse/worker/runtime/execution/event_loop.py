"""The event loop that runs `async def` handlers, in a thread of its own; a handler that blocks it is reported."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, InvalidStateError
from typing import Any

import structlog

from poolhouse.pipeline import logs
from poolhouse.worker.errors import Interrupted
from poolhouse.worker.runtime.execution import children
from poolhouse.worker.runtime.running_task import RunningTask

#: Seconds between two looks at whether the loop answers, while a handler runs on it.
LOOK_S = 1.0
#: Seconds without an answer after which the loop counts as blocked.
BLOCKED_S = 2.0
#: Frames of the blocking code that are reported, the innermost ones.
FRAMES = 5
#: Seconds that a coroutine gets to end after it was cancelled; then its attempt ends without it.
ENDED_AFTER_S = 5.0

_log = structlog.get_logger(__name__)


class EventLoop:
    """A running loop and its thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="handlers-loop", daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self._asked_s: float | None = None
        self._reported = False
        #: Whether an attempt was given up because the loop did not answer: no other may be started on it.
        self.lost = False

    @property
    def blocked(self) -> bool:
        """Whether it has not answered for `BLOCKED_S`. Asks, so that it knows the next time."""
        with self._lock:
            if self._asked_s is None:
                self._asked_s = time.monotonic()
                self._loop.call_soon_threadsafe(self._answer)
            return time.monotonic() - self._asked_s >= BLOCKED_S

    def run(self, task: RunningTask, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Wait for a handler's result. Raises what it raises, or `Interrupted`."""
        ended: Future[Any] = Future()
        running: list[asyncio.Task[Any]] = []

        def start() -> None:
            # Not by `create_task`: a task factory that a handler sets is for what handlers start.
            running.append(asyncio.Task(_guarded(coroutine), loop=self._loop, name=task.record.task_id))
            running[0].add_done_callback(lambda done: _copy(done, ended))
            if task.interruption is not None:  # it came before it could be heard
                cancel()

        def cancel() -> None:
            if running and running[0].cancel():
                task.told = True

        def interrupt(_: Interrupted) -> None:
            self._loop.call_soon_threadsafe(cancel)
            # A coroutine that goes on all the same, or never gets its turn, is given up.
            timer = threading.Timer(ENDED_AFTER_S, give_up)
            timer.daemon = True
            timer.start()

        def give_up() -> None:
            if not ended.done():
                self.lost = self.blocked
                _end(ended, CancelledError())

        task.interrupt_handler = interrupt
        task.abandon_handler = give_up
        self._loop.call_soon_threadsafe(start)
        while True:
            try:
                error = ended.exception(timeout=LOOK_S)
                break
            except TimeoutError:
                self._report_if_blocked(task)
        if isinstance(error, CancelledError):
            raise task.interruption or RuntimeError("the handler was cancelled, but not by the worker")
        return ended.result()

    def stop(self) -> None:
        """End the loop, if it can be ended: its thread does not keep the process."""
        self._stopping = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=1)
        if not self._thread.is_alive():
            self._loop.close()

    def _serve(self) -> None:
        while not self._stopping:  # a handler that stops the loop would stop it for all others
            self._loop.run_forever()

    def _answer(self) -> None:
        with self._lock:
            self._asked_s, self._reported = None, False

    def _report_if_blocked(self, task: RunningTask) -> None:
        if not self.blocked:
            return
        with self._lock:
            if self._reported or self._asked_s is None:
                return
            self._reported = True
            silent_s = time.monotonic() - self._asked_s
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = traceback.extract_stack(frame)[-FRAMES:] if frame is not None else []
        current = asyncio.current_task(self._loop)
        _log.warning(
            "an async handler blocks the event loop: all others wait; use await, asyncio.to_thread or cpu=True",
            blocking=current.get_name() if current is not None else None,
            waiting=task.record.task_id,
            silent_s=round(silent_s, 1),
            where=[f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in stack],
        )


async def _guarded(handler: Coroutine[Any, Any, Any]) -> Any:
    """The handler's result; `sys.exit()` in it is an error like any other, where asyncio would end the loop of all."""
    with children.Alone():
        try:
            return await handler
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"the handler raised {type(error).__name__}: {error}") from error
        finally:
            logs.end_printed()


def _copy(done: asyncio.Task[Any], ended: Future[Any]) -> None:
    if done.cancelled():
        _end(ended, CancelledError())
    elif (error := done.exception()) is not None:
        _end(ended, error)
    else:
        with contextlib.suppress(InvalidStateError):  # it was given up meanwhile
            ended.set_result(done.result())


def _end(ended: Future[Any], error: BaseException) -> None:
    with contextlib.suppress(InvalidStateError):
        ended.set_exception(error)
