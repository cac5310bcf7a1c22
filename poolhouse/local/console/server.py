"""The console as a process: until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import LOGGING_CONFIG

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


def serve(app: ASGIApp, listener: socket.socket, *, log_config: dict[str, Any] | None = LOGGING_CONFIG) -> None:
    """Answer at a listening socket.

    Args:
        app: the console.
        listener: closed in the end.
        log_config: of the server's own lines; None: they go where those of the process go.
    """
    config = uvicorn.Config(
        app,
        log_config=log_config,
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
