"""Free ports, and who has the others."""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from poolhouse.local.errors import StackError
from poolhouse.pipeline.errors import ConfigError

_T = TypeVar("_T")
#: Whether a server may bind beside a socket that is bound and does not listen.
_BINDS_BESIDE = sys.platform == "linux"

HOST = "127.0.0.1"
#: Ports are taken from here: below what systems give to outgoing connections (Linux from 32768, macOS from 49152), so
#: that none of those can take a port between the moment it is chosen and the moment its server listens.
_RANGE = range(20000, 32000)
_TRIES = 200


@dataclass(frozen=True)
class HeldPort:
    """A port that no other program can have."""

    number: int
    #: Bound, not listening; closed already where the system lets no server bind beside it.
    socket: socket.socket

    def release(self) -> None:
        """Let others have it."""
        self.socket.close()


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


def choose(*, wanted: int | None = None, preferred: int | None = None, what: str = "", host: str = HOST) -> int:
    """A free port.

    Another program may take it before its server listens: what can, takes a socket from `hold` or `listen_near`.

    Args:
        wanted: this one or none; 0: any.
        preferred: this one if it is free.
        what: whose port it is and how to set it, for the error.
        host: the address that it is a port of.

    Raises:
        ConfigError: `wanted` is no port.
        StackError: `wanted` is taken; the text names the process that has it, where the system reports it.
    """
    if wanted:
        if not 0 < wanted < 65536:
            raise ConfigError(f"{wanted} is no port{what and f' for {what}'}: take one from 1 to 65535")
        if is_free(wanted, host):
            return wanted
        raise StackError(f"port {wanted} is in use{_by_whom(wanted)}: choose another one{what and f' for {what}'}")
    if wanted is None and preferred is not None and is_free(preferred, host) and not _is_anothers_by_name(preferred):
        return preferred
    for _ in range(_TRIES):
        port = random.choice(_RANGE)
        if is_free(port, host) and _unheld(port):
            return port
    raise StackError(f"no free port found on {host} between {_RANGE.start} and {_RANGE.stop}")


def listen_near(wanted: int | None, *, preferred: int | Sequence[int], what: str) -> socket.socket:
    """A listening socket, bound at once: what `choose` chooses another program may take meanwhile.

    Args:
        wanted: this port or none; 0: any.
        preferred: the first of these that is free, else any.
        what: whose port it is and how to set it, for the error.

    Raises:
        StackError: `wanted` is taken.
    """
    return _near(listen, wanted, preferred=preferred, what=what)


def listen(port: int) -> socket.socket:
    """A listening socket for a server to inherit. Raises `StackError` where the port is taken."""
    # The protocol is named, which `create_server` does not do: asyncio sets TCP_NODELAY on no other socket, and without
    # it an answer's body may wait 40 ms for the client to acknowledge its head.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StackError(f"can't listen on port {port}: {error.strerror}") from None
    return listener


def hold_near(wanted: int | None, *, preferred: int | Sequence[int], what: str) -> HeldPort:
    """A port for a server that takes no socket: that server can listen there, while no other stack can have the port.

    Arguments and errors as for `listen_near`. Release it once the server is not to be started again.
    """
    return _near(_hold, wanted, preferred=preferred, what=what)


def _hold(port: int) -> HeldPort:
    """Bind a port without listening. Raises `StackError` where it is taken."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Without SO_REUSEADDR it is bound only where no other socket holds the port, listening or not. With it from
        # then on, Linux lets a server that sets it, as Go's do, bind beside a socket that does not listen. Connections
        # of a server that has just ended are no holder.
        if _has_closed_connections(port):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError as error:
        held.close()
        raise StackError(f"can't have port {port}: {error.strerror}") from None
    number = int(held.getsockname()[1])
    if not _BINDS_BESIDE:
        held.close()  # chosen, not held
    return HeldPort(number, held)


def _has_closed_connections(port: int) -> bool:
    """Whether connections to a port wait for stray packets (TIME-WAIT; RFC 9293, 3.3.2). proc_pid_net(5), tcp."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "06" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def _near(bind: Callable[[int], _T], wanted: int | None, *, preferred: int | Sequence[int], what: str) -> _T:
    if wanted:
        return bind(choose(wanted=wanted, what=what))
    if wanted is None:
        for port in (preferred,) if isinstance(preferred, int) else preferred:
            if _is_anothers_by_name(port):
                continue
            with contextlib.suppress(StackError):
                return bind(port)
    for _ in range(_TRIES):
        with contextlib.suppress(StackError):  # taken since it was chosen
            return bind(choose())
    raise StackError(f"no free port found on {HOST} between {_RANGE.start} and {_RANGE.stop}")


def of_name(name: str) -> tuple[int, int, int, int]:
    """Four ports that a name always gets, most likely no other name's."""
    first = _RANGE.start + zlib.crc32(name.encode()) % (len(_RANGE) // 4) * 4
    return first, first + 1, first + 2, first + 3


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on a port; True where the system does not report it."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return any(entry.status == psutil.CONN_LISTEN and entry.laddr.port == port for entry in connections if entry.laddr)


def _unheld(port: int) -> bool:
    """Whether a port is not even held: `is_free` would be let in beside the holder, by its SO_REUSEADDR."""
    with contextlib.suppress(StackError):
        _hold(port).release()
        return True
    return False


def _is_anothers_by_name(port: int) -> bool:
    """Whether `localhost` and this port lead to another program: one that listens on ::1, as many web servers do."""
    try:
        return _answers(port, "::1", family=socket.AF_INET6)
    except OSError:  # there is no IPv6 here
        return False


def _answers(port: int, host: str, *, family: socket.AddressFamily = socket.AF_INET) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
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
    except (psutil.AccessDenied, psutil.NoSuchProcess):  # macOS reports it to root only
        pass
    return ""
