"""An HTTP server that pushes go to: it keeps what it got, and answers as a test wants it to."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def envelope(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> str:
        return base64.b64decode(self.envelope["message"].get("data", "")).decode()


@dataclass
class Endpoint:
    """A receiver whose answers a test decides."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    #: Called with a request; its answer's status. None closes the connection without one.
    answer: Callable[[Received], int | None] = lambda _: 200
    under_way: int = 0
    most_under_way: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def data(self) -> list[str]:
        return [request.data for request in self.requests]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: an emulator that gives a push up resets its connection."""


@contextmanager
def open_endpoint() -> Iterator[Endpoint]:
    """A receiver on a port of its own."""
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with state.lock:
                state.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(path=self.path, headers=headers, body=body)
            with state.lock:
                state.requests.append(request)
                state.under_way += 1
                state.most_under_way = max(state.most_under_way, state.under_way)
            status = state.answer(request)
            with state.lock:
                state.under_way -= 1
            if status is None:
                self.close_connection = True
                return
            if status == 102:
                self.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
                return
            self.send_response(status)
            if status // 100 == 3:
                self.send_header("Location", "/elsewhere")
            body = b"" if status == 204 else b"thanks"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/push"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
