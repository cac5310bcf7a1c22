"""The processes below this one: what they inherit from it, and their end."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker
from types import FrameType
from typing import NoReturn

#: What a worker handles, and what `multiprocessing` and others end children with.
_HANDLED = (signal.SIGTERM, signal.SIGINT)
#: Of each thread that forks: which signals it blocked before.
_before_fork = threading.local()


def handle_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Handle SIGTERM and SIGINT in this process alone.

    A forked child would inherit the handlers, and `multiprocessing` ends its children with SIGTERM: each would stop
    "the worker", and go on. They get the default action back. One that comes sooner waits, as signals are blocked
    while a thread forks: Python would call the inherited handler, or forget the signal. What is executed anew has the
    default action anyway: unlike SIG_IGN, a handler does not survive `exec`.
    """
    for number in _HANDLED:
        signal.signal(number, handler)
    _guard_forks()


@functools.cache  # once: a second pair of hooks would find what the first has blocked
def _guard_forks() -> None:
    os.register_at_fork(before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_default_signals)


def _block_signals() -> None:
    _before_fork.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _before_fork.blocked)


def _default_signals() -> None:
    for number in (*_HANDLED, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    _unblock_signals()


class Alone:
    """End whatever process leaves this block without having entered it: the child of a handler that has forked.

    It is a copy of a worker in the middle of a task: going on, it would settle the task a second time.
    """

    def __enter__(self) -> None:
        self._pid = os.getpid()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if os.getpid() != self._pid:
            _leave(error)


def _leave(error: BaseException | None) -> NoReturn:
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        code = 1
        traceback.print_exception(error)
    with contextlib.suppress(Exception):  # whatever the handler did to its streams
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def any_left() -> bool:
    """Whether this process has children, zombies included."""
    if sys.platform == "darwin":  # no os.waitid before Python 3.13
        import psutil  # noqa: PLC0415

        return bool(psutil.Process().children())
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def end_below(pid: int) -> None:
    """Kill all descendants of a process, whatever groups or sessions they have made for themselves; not itself.

    The resource tracker of `multiprocessing` stays: once the others have ended it removes their semaphores, and ends.
    """
    import psutil  # noqa: PLC0415 - needed at an end only

    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.pid != tracker:
                    process.kill()


def end_tree(leader: int) -> None:
    """Kill a process that leads a group, the group, and all descendants. Its exit code is still to be collected."""
    import psutil  # noqa: PLC0415 - needed at an end only

    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(leader).children(recursive=True)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(leader, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.kill()
