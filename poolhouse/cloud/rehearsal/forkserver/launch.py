"""Starts the server, and makes the program `gcloud` that asks it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from poolhouse.cloud.gcloud import environment

_SERVER = Path(__file__).with_name("server.py")
_CLIENT = Path(__file__).with_name("client.py")
#: Longest path of a Unix socket, in bytes (unix(7)).
_LONGEST_ADDRESS = 107
#: Words of gcloud's start script for the interpreter, split at spaces: the path comes by the environment.
_IN_FRONT = "-S -cexec(open(__import__('os').environ.get('POOLHOUSE_GCLOUD_SERVER')).read())"
_STOP_TIMEOUT_S = 10


@contextlib.contextmanager
def gcloud_server(folder: Path, *, env: Mapping[str, str]) -> Iterator[Path | None]:
    """Run the server, and give the folder of a program `gcloud` that uses it, to be put first on the PATH.

    None on a system other than Linux, and where gcloud's installation is not found: then every command starts by
    itself, as ever, which takes a second instead of a tenth.

    Args:
        folder: for the program and the server's socket; readable by its owner alone.
        env: what the server adds to the environment.
    """
    program, address = shutil.which("gcloud"), folder / "gcloud.socket"
    installation = _installation(program) if program else None
    if sys.platform != "linux" or program is None or installation is None or len(bytes(address)) > _LONGEST_ADDRESS:
        yield None
        return
    programs = folder / "bin"
    programs.mkdir()
    script = programs / "gcloud"
    words = (sys.executable, "-I", "-S", str(_CLIENT), str(address), program)
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    # Beside its programs gcloud has its table of commands.
    (folder / "data").symlink_to(installation / "data")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(128)
        number = listener.fileno()
        server = subprocess.Popen(
            (program, str(number)),
            env={
                **environment.of_call(os.environ, env),
                "CLOUDSDK_PYTHON_ARGS": _IN_FRONT,
                "POOLHOUSE_GCLOUD_SERVER": str(_SERVER),
            },
            # It ends when this pipe does, so also with a process that is killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(number,),
            start_new_session=True,
        )
    try:
        yield programs
    finally:
        server.stdin.close()  # type: ignore[union-attr] # a pipe was asked for
        try:
            server.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _installation(program: str) -> Path | None:
    for parent in Path(program).resolve().parents:
        if (parent / "lib" / "gcloud.py").is_file():
            return parent
    return None
