"""Free ports, and who has the others."""

from __future__ import annotations

import random
import socket

import psutil

from poolhouse.local.errors import StackError
from poolhouse.pipeline.errors import ConfigError

HOST = "127.0.0.1"
#: Ports are taken from here: below what systems give to outgoing connections (Linux from 32768, macOS from 49152), so
#: that none of those can take a port between the moment it is chosen and the moment its server listens.
_RANGE = range(20000, 32000)
_TRIES = 200


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Binding alone succeeds beside a listener that allows port sharing.
            probe.listen(1)
        except OSError:
            return False
    return not _answers(port, host)


def choose(*, wanted: int | None = None, preferred: int | None = None, what: str = "") -> int:
    """A free port.

    Args:
        wanted: this one or none.
        preferred: this one if it is free.
        what: whose port it is and how to set it, for the error.

    Raises:
        ConfigError: `wanted` is no port.
        StackError: `wanted` is taken; the text names the process that has it, where the system tells.
    """
    if wanted is not None:
        if not 0 < wanted < 65536:
            raise ConfigError(f"{wanted} is no port{what and f' for {what}'}: take one from 1 to 65535")
        if is_free(wanted):
            return wanted
        raise StackError(f"port {wanted} is in use{_by_whom(wanted)}: choose another one{what and f' for {what}'}")
    if preferred is not None and is_free(preferred):
        return preferred
    for _ in range(_TRIES):
        port = random.choice(_RANGE)
        if is_free(port):
            return port
    raise StackError(f"no free port found on {HOST} between {_RANGE.start} and {_RANGE.stop}")


def listen_near(wanted: int | None, *, preferred: int, what: str) -> socket.socket:
    """A listening socket, bound at once: what `choose` chooses another program may take meanwhile.

    Args:
        wanted: this port or none.
        preferred: this one if it is free, else any.
        what: whose port it is and how to set it, for the error.

    Raises:
        StackError: `wanted` is taken.
    """
    if wanted is not None:
        return listen(choose(wanted=wanted, what=what))
    try:
        return listen(preferred)
    except StackError:
        return listen(choose())


def listen(port: int) -> socket.socket:
    """A listening socket for a server to inherit. Raises `StackError` where the port is taken."""
    try:
        return socket.create_server((HOST, port), backlog=2048)
    except OSError as error:
        raise StackError(f"can't listen on port {port}: {error.strerror}") from None


def _answers(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((host, port)) == 0


def _by_whom(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                command = " ".join(psutil.Process(connection.pid).cmdline())[:80]
                return f" by process {connection.pid} ({command})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):  # macOS tells only root
        pass
    return ""
