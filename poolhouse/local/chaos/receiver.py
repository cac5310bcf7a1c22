"""The receiver of completion webhooks: it notes what it is told, and fails the first time now and then."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from poolhouse.local.processes import ports

#: Of so many events one is refused at its first delivery.
REFUSED_ONE_IN = 8


@dataclass(frozen=True)
class Told:
    """One delivery of an event."""

    event_id: str
    task_id: str
    status: str


class Receiver:
    """What has been told. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: list[Told] = []
        self._refused: set[str] = set()
        self.url = ""

    @property
    def told(self) -> tuple[Told, ...]:
        """The deliveries that were answered with 2xx."""
        with self._lock:
            return tuple(self._told)

    def take(self, event_id: str, body: bytes) -> int:
        """Note a delivery; returns the status of the answer."""
        data = json.loads(body)["data"]
        with self._lock:
            if zlib.crc32(event_id.encode()) % REFUSED_ONE_IN == 0 and event_id not in self._refused:
                self._refused.add(event_id)
                return 503
            self._told.append(Told(event_id, data["task_id"], data["status"]))
            return 204


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver at an address of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(receiver.take(self.headers["webhook-id"], body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep the terminal for the events of the round."""

    with ThreadingHTTPServer((ports.HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()
        receiver.url = f"http://{ports.HOST}:{server.server_address[1]}/"
        try:
            yield receiver
        finally:
            server.shutdown()
