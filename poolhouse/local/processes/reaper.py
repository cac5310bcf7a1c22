"""Ends what a dead supervisor leaves behind: `python -I -S reaper.py GRACE_S`, one beside each supervisor.

The supervisor holds the other end of its standard input and writes a line for each change: `+GROUP` and `-GROUP` for a
process group of a child, `DIR "path"` for a folder to be removed, as JSON since a name may hold a line break. When the
pipe closes without a line `done`, the supervisor is gone, however it went: the groups are ended, children of children
included, and the folders removed.
Portable, and complete where the kernel's own parent-death signal reaches direct children alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

#: Time between SIGTERM and SIGKILL, in seconds: the queue of these processes is gone, none can end its work well.
GRACE_S = 1.0


class Reaper:
    """The reaper of this process."""

    def __init__(self) -> None:
        """Start it, in a session of its own: no terminal's signal reaches it."""
        self._process = subprocess.Popen(
            (sys.executable, "-I", "-S", __file__, str(GRACE_S)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",  # the checkout may be moved or unmounted meanwhile
        )

    def group(self, group: int, made: bool) -> None:
        """A process group was made, or has ended."""
        self._tell(f"{'+' if made else '-'}{group}")

    def folder(self, path: Path) -> None:
        """A folder is to be removed."""
        self._tell(f"DIR {json.dumps(str(path))}")

    def dismiss(self) -> None:
        """All is tidy: let it end."""
        self._tell("done")
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it was killed: the kernel's signal is left
            self._pipe.write(line.encode() + b"\n")
            self._pipe.flush()


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
            folders.add(json.loads(word[4:]))
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
