"""A receiver on this machine, and the secret that deliveries are signed with."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="  # gitleaks:allow


@dataclass(frozen=True)
class Request:
    """What a receiver has got."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A subscriber's server. It answers `status` with `headers`, which a test may change."""

    url: str
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def paths(self) -> list[str]:
        """The paths of the requests, in order."""
        return [request.path for request in self.requests]

    def ids(self) -> set[str]:
        """The events that it was sent."""
        return {request.headers["webhook-id"] for request in self.requests}


@pytest.fixture(scope="session", autouse=True)
def secret() -> Iterator[str]:
    """The secret, for the workers of every level: those of a stack take it from the environment that starts them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBHOOK_SECRET", SECRET)
        yield SECRET


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of this test's own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            opened.requests.append(Request(self.path, headers, body))
            self.send_response(opened.status)
            self.send_header("Content-Length", "0")
            for name, value in opened.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        opened = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield opened
        server.shutdown()
        thread.join()
