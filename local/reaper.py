"""Ends what a dead supervisor leaves behind: `python -I -S reaper.py GRACE_S`, one beside each supervisor.

The supervisor holds the other end of its standard input and writes a line for each change: `+GROUP` and `-GROUP` for a
process group of a child, `DIR path` for a folder to be removed. When the pipe closes without a line `done`, the
supervisor is gone, however it went: the groups are ended, children of children included, and the folders removed.
Portable, and complete where the kernel's own parent-death signal reaches direct children alone.
"""

import contextlib
import os
import shutil
import signal
import sys
import time


def main(grace_s: float) -> None:
    """Follow the supervisor until it is gone, then tidy up after it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its supervisor, not before
    groups: set[int] = set()
    folders: set[str] = set()
    for line in sys.stdin:
        word = line.rstrip("\n")
        if word == "done":
            return
        if word.startswith("DIR "):
            folders.add(word[4:])
        elif word.startswith("+"):
            groups.add(int(word[1:]))
        elif word.startswith("-"):
            groups.discard(int(word[1:]))
    _signal(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _signal(groups, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(groups, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _signal(groups: set[int], number: int) -> bool:
    """Signal the groups; whether any of them is left."""
    left = False
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            left = True
    return left


if __name__ == "__main__":
    main(float(sys.argv[1]))
