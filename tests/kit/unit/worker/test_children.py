"""Processes that a handler forks: what they inherit, and what they don't."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

#: Prints how a forked child ended that got a signal before the kit's own hook could run in it, and whether the parent
#: still handles signals.
PROGRAM = """
import os, signal, sys
from poolhouse.worker.runtime.execution import children

number = int(sys.argv[1])
# Hooks run in the order in which they were registered: this one comes before the kit's.
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), number))
handled = []
children.handle_signals(lambda number, frame: handled.append(number))
pid = os.fork()
if pid == 0:
    os._exit(0)
ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
os.kill(os.getpid(), number)
print(ended, handled)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_forked_child_however_soon_it_comes(number: signal.Signals) -> None:
    words = [sys.executable, "-c", PROGRAM, str(number.value)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout == f"{-number} [{int(number)}]\n"
