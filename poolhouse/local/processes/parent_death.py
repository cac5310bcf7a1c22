"""Turns itself into a child of the supervisor: `python -I -S guard.py PARENT COMMAND…`.

On Linux the kernel then kills the child the moment its parent is gone, kill -9 included; elsewhere the reaper does that
alone. A script of its own, run by a bare interpreter in 15 ms, since code between fork and exec must not run in a
supervisor that has gRPC's threads.
"""

import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SIGKILL = 9


def main(parent: int, command: list[str]) -> None:
    """Arrange for the end, then become the command."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - Linux alone needs it

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it was gone before the arrangement stood
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - there is no shell to want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
