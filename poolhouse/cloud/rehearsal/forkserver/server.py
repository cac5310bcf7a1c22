"""Runs gcloud commands in forks of one process that has imported gcloud.

Runs in gcloud's own interpreter, in front of gcloud's program (see `launch`), and imports nothing of the kit. A command
gets the arguments, environment, working directory and standard streams of its client (`client`), and is killed when the
client goes away. What it has imported is imported here once it has ended, so that the next one finds it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

#: Set by gcloud's start script for its program: clients do not have them.
FROM_START_SCRIPT = (
    "CLOUDSDK_BQ_PYTHON",
    "CLOUDSDK_GSUTIL_PYTHON",
    "CLOUDSDK_PYTHON",
    "CLOUDSDK_PYTHON_SITEPACKAGES",
    "CLOUDSDK_ROOT_DIR",
    "PYTHONIOENCODING",
)
#: Longest wait for the rest of a client's request, in seconds.
REQUEST_TIMEOUT_S = 10
STARTED = b"+"


@dataclass(frozen=True)
class Command:
    """What a fork has to run."""

    arguments: list[str]
    #: Takes the names of what it imports.
    imported: IO[str]


@dataclass(frozen=True)
class Running:
    """A command that runs in a fork."""

    pid: int
    client: socket.socket
    imported: IO[str]

    def kill(self) -> None:
        """End it, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close what belongs to it."""
        self.client.close()
        self.imported.close()


class Server:
    """Forks for every client until standard input ends.

    Args:
        listener: where clients connect.
    """

    def __init__(self, listener: socket.socket) -> None:
        """Watch for clients, and for the ends of forks."""
        self._listener = listener
        self._running: dict[int, Running] = {}
        self._ends, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector = selectors.DefaultSelector()
        for readable in (listener, self._ends, sys.stdin):
            self._selector.register(readable, selectors.EVENT_READ)

    def serve(self) -> Command | None:
        """Return in each fork with what it has to run, and once in the server, with None, when it ends."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    for running in self._running.values():
                        running.kill()
                    return None
                if key.fileobj is self._listener:
                    if (command := self._accept()) is not None:
                        return command
                elif key.fileobj is self._ends:
                    self._ends.recv(4096)
                    self._reap()
                elif key.fileobj in self._selector.get_map():  # else it ended in this same round
                    self._selector.unregister(key.fileobj)
                    key.data.kill()

    def _accept(self) -> Command | None:
        client, _ = self._listener.accept()
        client.settimeout(REQUEST_TIMEOUT_S)
        try:
            header, streams, _, _ = socket.recv_fds(client, 4, 3, socket.MSG_WAITALL)
            (length,) = struct.unpack("!I", header)
            request = json.loads(client.recv(length, socket.MSG_WAITALL))
        except (OSError, struct.error, ValueError):  # it was killed before it had asked
            client.close()
            return None
        imported = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - open as long as the command runs
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            client.close()
            self._close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(request["directory"])
            own = {name: os.environ[name] for name in FROM_START_SCRIPT if name in os.environ}
            os.environ.clear()
            os.environ.update({**request["environment"], **own})
            time.tzset()
            return Command(request["arguments"], imported)
        with contextlib.suppress(PermissionError, ProcessLookupError):  # the fork does it too: whoever comes first
            os.setpgid(pid, pid)
        for stream in streams:
            os.close(stream)
        self._running[pid] = Running(pid, client, imported)
        self._selector.register(client, selectors.EVENT_READ, self._running[pid])
        with contextlib.suppress(OSError):  # gone already: its end is the next event
            client.sendall(STARTED)
        return None

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            running = self._running.pop(pid)
            with contextlib.suppress(OSError):
                running.client.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
            if running.client in self._selector.get_map():
                self._selector.unregister(running.client)
            running.imported.seek(0)
            found = running.imported.read().split()
            running.close()
            for name in found:
                # What can't be imported out of its context is imported by each command, as ever.
                with contextlib.suppress(Exception):
                    importlib.import_module(name)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for one in (self._listener, self._ends, self._wake):
            one.close()
        for running in self._running.values():
            running.close()


def main(program: str, listener: socket.socket) -> NoReturn:
    """Serve; in a fork, run its command.

    Args:
        program: path of gcloud's own `lib/gcloud.py`.
        listener: where clients connect.
    """
    sys.path.insert(0, str(Path(program).parent))
    gcloud = importlib.import_module("gcloud")
    importlib.import_module("googlecloudsdk.gcloud_main")
    command = Server(listener).serve()
    if command is None:
        sys.exit(0)
    before = set(sys.modules)
    sys.argv = [program, *command.arguments]
    code = _exit_code(gcloud.main)
    with command.imported as names:
        names.write("\n".join(name for name in list(sys.modules) if name not in before))
    # What the interpreter does at its end, but for tearing down all modules, which would take longer than the command.
    threading._shutdown()  # type: ignore[attr-defined] # waits for the threads that are no daemons
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _exit_code(run: Callable[[], object]) -> int:
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter ends with one
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
