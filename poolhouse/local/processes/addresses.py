"""The addresses of an embedded stack: taken before anything starts, and held until it has ended."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from pathlib import Path

from poolhouse.local.backend import Endpoints, UpOptions
from poolhouse.local.processes import ports
from poolhouse.local.processes.ports import HeldPort

#: Ports that are worth remembering, where they are free.
USUAL_API_PORT, USUAL_CONSOLE_PORT = 8080, 8081


@dataclass(frozen=True)
class Addresses:
    """Sockets that listen already, a port for the one server that takes no socket, and the endpoints that they make.

    Of two stacks that start at once each gets ports of its own; what answers at an endpoint is this stack or nothing.
    """

    endpoints: Endpoints
    api: socket.socket
    pubsub: socket.socket
    storage: HeldPort
    console: socket.socket

    def release(self) -> None:
        """Let others have them."""
        for listener in (self.api, self.pubsub, self.console):
            listener.close()
        self.storage.release()


def take(options: UpOptions, *, name: str) -> Addresses:
    """Take the addresses of a stack: the same for the same name, unless another program has them.

    Args:
        options: with the ports that were asked for.
        name: of the stack: it is in the names of its project and bucket.

    Raises:
        StackError: a port that was asked for is taken.
    """
    api_port, pubsub_port, storage_port, console_port = ports.of_name(name)
    api = ports.listen_near(options.api_port, preferred=(USUAL_API_PORT, api_port), what="the API (--api-port)")
    pubsub = ports.listen_near(options.pubsub_port, preferred=pubsub_port, what="Pub/Sub (--pubsub-port)")
    storage = ports.hold_near(options.storage_port, preferred=storage_port, what="storage (--storage-port)")
    console = ports.listen_near(
        options.console_port, preferred=(USUAL_CONSOLE_PORT, console_port), what="the console (--console-port)"
    )
    endpoints = Endpoints(
        api_url=_url(_port(api)),
        pubsub_host=f"{ports.HOST}:{_port(pubsub)}",
        storage_url=_url(storage.number),
        project=f"poolhouse-{name}",
        bucket=f"poolhouse-local-{name}",
        console_url=_url(_port(console)),
    )
    return Addresses(endpoints, api, pubsub, storage, console)


def name_of(state_dir: Path) -> str:
    """The name of a stack that keeps nothing: one for each checkout, so that programs can be set up for it once."""
    return hashlib.sha256(bytes(state_dir.resolve())).hexdigest()[:8]


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _url(port: int) -> str:
    return f"http://{ports.HOST}:{port}"
