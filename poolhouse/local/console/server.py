"""The console as a process: until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import socket

import uvicorn

from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import Stack
from poolhouse.pipeline.web_guard import WebGuard

#: What calls in hand get at a stop, in seconds.
_GRACE_S = 1


def serve(stack: Stack, listener: socket.socket) -> None:
    """Answer at a listening socket.

    Args:
        stack: what it shows.
        listener: closed in the end.
    """
    config = uvicorn.Config(
        create_app(stack, guard=WebGuard.from_environment(os.environ)),
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
