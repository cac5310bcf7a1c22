"""The console as a process: until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import socket

import uvicorn

from poolhouse.local.console.app import create_app
from poolhouse.local.console.stacks import Stack
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.web_guard import WebGuard

#: What calls in hand get at a stop, in seconds.
_GRACE_S = 1


def guard() -> WebGuard:
    """Return what the environment says of foreign pages. Raises `ConfigError`."""
    try:
        return WebGuard.from_environment(os.environ)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def serve(stack: Stack, listener: socket.socket, *, guard: WebGuard) -> None:
    """Answer at a listening socket.

    Args:
        stack: what it shows.
        listener: closed in the end.
        guard: says which requests are answered.
    """
    config = uvicorn.Config(
        create_app(stack, guard=guard),
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
