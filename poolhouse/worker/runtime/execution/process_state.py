"""The state of a process that a handler may change, restored before the next task.

Handler processes serve one task after another: where one changes the working directory, an environment variable or a
signal handler, the next one must not see that.
"""

from __future__ import annotations

import contextlib
import gc
import locale
import os
import resource
import signal
import socket
import sys
import time
import warnings
from typing import Any

_SIGNALS = [
    number for number in signal.valid_signals() if number not in {signal.SIGKILL, signal.SIGSTOP} and number < 32
]


class ProcessState:
    """A snapshot of the process's state, taken at construction. For the main thread."""

    def __init__(self) -> None:
        self._directory = os.getcwd()
        self._environment = dict(os.environ)
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._signals = {number: signal.getsignal(number) for number in _SIGNALS}
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._locale = locale.setlocale(locale.LC_ALL)
        self._recursion_limit = sys.getrecursionlimit()
        self._filters = list(warnings.filters)
        self._collecting = gc.isenabled()
        self._socket_timeout = socket.getdefaulttimeout()
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._path = list(sys.path)
        self._limits = _limits()
        self._priority = os.getpriority(os.PRIO_PROCESS, 0)
        #: Copies of the descriptors 0 to 2, as a handler may close or replace them.
        self._descriptors = {number: os.dup(number) for number in range(3) if _is_open(number)}

    def restore(self) -> None:
        """Restore everything. Raise where that fails, such as for a deleted directory."""
        if os.getpriority(os.PRIO_PROCESS, 0) != self._priority:
            os.setpriority(os.PRIO_PROCESS, 0, self._priority)
        for limit, values in self._limits.items():
            if resource.getrlimit(limit) != values:
                resource.setrlimit(limit, values)
        if _directory() != self._directory:
            os.chdir(self._directory)
        if dict(os.environ) != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
            time.tzset()
        os.umask(self._umask)
        for each, handler in self._signals.items():
            if signal.getsignal(each) is not handler:
                _set_signal(each, handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        if locale.setlocale(locale.LC_ALL) != self._locale:
            locale.setlocale(locale.LC_ALL, self._locale)
        sys.setrecursionlimit(self._recursion_limit)
        warnings.filters[:] = self._filters  # type: ignore[index]  # a list, whatever typeshed calls it
        warnings._filters_mutated()  # type: ignore[attr-defined]  # or answers of the old filters stay cached
        if gc.isenabled() != self._collecting:
            (gc.enable if self._collecting else gc.disable)()
        socket.setdefaulttimeout(self._socket_timeout)
        sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.path[:] = self._path
        for number, kept in self._descriptors.items():
            if not _is_open(number) or not os.path.sameopenfile(number, kept):
                os.dup2(kept, number)


def _limits() -> dict[int, tuple[int, int]]:
    numbers = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    return {number: resource.getrlimit(number) for number in numbers}


def _directory() -> str | None:
    with contextlib.suppress(OSError):  # it may have been removed
        return os.getcwd()
    return None


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _set_signal(number: int, handler: Any) -> None:
    with contextlib.suppress(TypeError, ValueError, OSError):  # one that was set in C is None
        signal.signal(number, handler)
