"""Receivers of webhooks: real HTTP servers on loopback, with the answers that a test wants."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def raw_receiver(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server of the test's own, one connection at a time; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed: the test is over
            with connection, suppress(OSError):  # the caller has gone
                serve(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """Read a whole request: a connection that is closed with bytes unread is reset, and the answer may be lost."""
    data = b""
    while not _whole(data):
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def _whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"^content-length: *(\d+)\r?$", head, re.IGNORECASE | re.MULTILINE)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)
