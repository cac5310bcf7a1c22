"""Raising `TaskTimeout` in a thread that runs a handler, even between two checkpoints."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from poolhouse.worker.errors import Interrupted, TaskTimeout

#: Seconds between the soft time limit (an error in the handler) and the hard one (the handler is given up).
HARD_LIMIT_AFTER_S = 5.0
#: Seconds between two errors in a handler that goes on after its hard limit, in code that catches everything.
RAISED_AGAIN_S = 0.5


@contextmanager
def interruptible() -> Iterator[Callable[[Interrupted], None]]:
    """Run a handler inside; what is yielded may be called from any thread, and heeds time limits alone.

    Any other interruption the handler sees at a checkpoint, where it can tidy up. Python raises at the next bytecode: a
    handler that waits in C code is interrupted when that returns. One that catches even `BaseException` and goes on is
    interrupted again and again once its attempt has been given up.
    """
    thread_id = threading.get_ident()
    lock = threading.Lock()
    inside, raised = True, False

    def interrupt(interruption: Interrupted, wait_s: float = HARD_LIMIT_AFTER_S + RAISED_AGAIN_S) -> None:
        nonlocal raised
        if not isinstance(interruption, TaskTimeout):
            return
        with lock:
            if not inside:
                return
            raised = True
            _raise_in(thread_id, TaskTimeout)
        again = threading.Timer(wait_s, interrupt, (interruption, RAISED_AGAIN_S))
        again.daemon = True
        again.start()

    try:
        yield interrupt
    finally:
        while inside:
            with contextlib.suppress(TaskTimeout), lock:  # one may come right here
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
