"""`python -m poolhouse.api`: serve until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from types import FrameType
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poolhouse.api import application
from poolhouse.api.routes.events import TaskEvents
from poolhouse.api.services import Ending
from poolhouse.pipeline import logs, numbers, secret_values
from poolhouse.pipeline.config import settings as environment
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK, USAGE

#: What the calls in hand get at SIGTERM, in seconds, of the time that the process has in all.
GRACE_S = 8
#: What a new connection gets at SIGTERM to send its first request, in seconds.
FIRST_WORD_S = 0.5
#: What a client gets to end the head of a request that it began, in seconds, and how often that is looked after.
REQUEST_HEAD_S = 20.0
HEAD_CHECK_TICKS = 20


class Server(uvicorn.Server):
    """A server that ends its event streams when it is stopped: they would never end by themselves."""

    def __init__(self, config: uvicorn.Config, events: TaskEvents, ending: Ending) -> None:
        super().__init__(config)
        self._events = events
        self._ending = ending
        self._half_requests: dict[Any, float] = {}

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first SIGTERM or SIGINT, at once at the second.

        Unlike uvicorn's own, this does not raise the signal again afterwards: a service that stopped as it was told
        exits with 0.
        """
        self.force_exit = self.should_exit
        self.should_exit = True
        self._ending.begin()
        self._events.close()

    async def on_tick(self, counter: int) -> bool:
        """End the connections whose request does not come; uvicorn itself ends idle ones between two requests alone."""
        if counter % HEAD_CHECK_TICKS == 0:
            now = time.monotonic()
            self._half_requests = {
                connection: self._half_requests.get(connection, now)
                for connection in self.server_state.connections
                if _is_waiting_for_request(connection)
            }
            for connection, since in self._half_requests.items():
                if now - since > REQUEST_HEAD_S:
                    connection.transport.close()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, hear those out who are connected already, end.

        uvicorn alone would reset a connection that was accepted a moment ago and has not been read from.
        """
        for server in self.servers:
            server.close()
        deadline = time.monotonic() + FIRST_WORD_S
        while time.monotonic() < deadline and any(  # noqa: ASYNC110 - uvicorn has no event for it
            getattr(connection, "cycle", None) is None for connection in self.server_state.connections
        ):
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


def _is_waiting_for_request(connection: Any) -> bool:
    """Whether a client that has begun nothing, or half a request, keeps one of uvicorn's connections open."""
    cycle = getattr(connection, "cycle", None)
    return (cycle is None or cycle.response_complete) and getattr(connection, "timeout_keep_alive_task", None) is None


def main(arguments: list[str] | None = None) -> int:
    """Run the service; returns the exit code."""
    options = _options(arguments)
    try:
        settings = environment.load()
        secret_values.known.learn(settings.topology.all_secrets, os.environ)
        logs.configure(level=settings.log_level, format=settings.log_format)
        app = application.load(settings.topology.api)
        listener = _listen(options.host, options.port) if options.fd is None else _inherited(options.fd)
    except ConfigError as error:
        print(f"api: {secret_values.known.mask(str(error))}", file=sys.stderr)
        return USAGE
    checked = _OneLineStart(app)
    # The application logs its requests; uvicorn's own lines go the same way as all others.
    config = uvicorn.Config(
        checked,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
    )
    server = Server(config, app.state.events, app.state.services.ending)
    host, port = listener.getsockname()[:2]
    structlog.get_logger("api").info("api listens", url=f"http://{f'[{host}]' if ':' in host else host}:{port}")
    try:
        with listener:
            server.run(sockets=[listener])
    except SystemExit:  # uvicorn's, whose code for a failed start is none of ours; it has logged why
        return USAGE if checked.refused else FAILED
    return OK if server.started else FAILED


class _OneLineStart:
    """The application; where its settings are wrong, its start fails with the message alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        #: Whether they are.
        self.refused = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def without_traceback(message: Message) -> None:
            if message["type"] != "lifespan.startup.failed":
                await send(message)

        try:
            await self._app(scope, receive, without_traceback)
        except ConfigError as error:
            self.refused = True
            await send({"type": "lifespan.startup.failed", "message": str(error)})


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m poolhouse.api", description="Serve the HTTP API until SIGTERM.")
    parser.add_argument(
        "--host", default=os.environ.get("HOST") or "127.0.0.1", help="address to listen on (HOST; %(default)s)"
    )
    parser.add_argument(
        "--port", type=_port, default=os.environ.get("PORT") or "8080", help="port, 0 for any (PORT; %(default)s)"
    )
    parser.add_argument(
        "--fd", type=int, metavar="N", help="take the listening socket that this process inherits as N, not an address"
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    try:
        return numbers.port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"a port {error}") from None


def _listen(host: str, port: int) -> socket.socket:
    """The listening socket. Raises `ConfigError` where the address can't be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"can't listen on {host}: {error.strerror}: set --host or HOST") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"can't listen on {host}:{port}: {error.strerror}: another program has it? Set --port or PORT"
        ) from None
    return listener


def _inherited(descriptor: int) -> socket.socket:
    """The listening socket that the parent process passed on. Raises `ConfigError` where there is none."""
    try:
        return socket.socket(fileno=descriptor)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--fd {descriptor} is no socket that this process inherits: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
