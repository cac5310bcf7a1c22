"""The console as a process: until SIGTERM or Ctrl-C."""

from __future__ import annotations

import socket
from pathlib import Path

import uvicorn

from local import choose
from local.console.app import create_app
from local.console.stack import Stack

#: What calls in hand get at a stop, in seconds.
_GRACE_S = 1


def serve(state_dir: Path, listener: socket.socket) -> None:
    """Answer at a listening socket.

    Args:
        state_dir: where the stack is found that it shows.
        listener: closed in the end.
    """
    config = uvicorn.Config(
        create_app(Stack(lambda: choose.current(state_dir))),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )
    with listener:
        uvicorn.Server(config).run(sockets=[listener])
