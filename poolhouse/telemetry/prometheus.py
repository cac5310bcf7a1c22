"""GET /metrics, at an address of the process's own: no client of the API reaches it, and it is in no access log."""

from __future__ import annotations

import errno
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.web_guard import WebGuard

#: How many processes of one machine may share METRICS_PORT: each takes the first port from there on that is free.
PORTS = 100

_log = structlog.get_logger(__name__)


class Endpoint:
    """A server on a thread of its own, and the reader that it asks."""

    def __init__(self, *, host: str, port: int, guard: WebGuard) -> None:
        """Listen to nothing yet.

        Args:
            host: the address to listen at.
            port: the first port to try.
            guard: which requests are answered: a page in a browser reaches a port of its own machine too.
        """
        self._host, self._port, self._guard = host, port, guard
        self._registry = CollectorRegistry(auto_describe=False)
        self.reader = PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)
        self._scraping = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_address[1]}/metrics"

    def start(self) -> None:
        """Listen. Raises `ConfigError` where no port is free, or the address is not one of this machine."""
        self._server = self._listen()
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        _log.info("metrics served", url=self.url)

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the format that a scraper accepts, and the format's content type."""
        encode, content_type = choose_encoder(accept)
        with self._scraping:  # the reader hands its figures over through a queue of its own
            return encode(self._registry), content_type

    def _listen(self) -> ThreadingHTTPServer:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10  # a client that says nothing must not keep a thread

            def do_GET(self) -> None:
                endpoint._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            daemon_threads = True

            def server_bind(self) -> None:
                # HTTPServer's own asks the DNS for this machine's name.
                TCPServer.server_bind(self)
                self.server_name, self.server_port = endpoint._host, self.server_address[1]

        for port in range(self._port, min(self._port + PORTS, 65_536)):
            try:
                return Server((self._host, port), Handler)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise ConfigError(
                        f"metrics can't be served at {self._host}:{port}: {error.strerror}: "
                        "set METRICS_HOST or METRICS_PORT"
                    ) from None
        raise ConfigError(
            f"no port is free for the metrics at {self._host}, from {self._port} on: set METRICS_PORT or METRICS_HOST"
        )

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        refusal = self._guard.refusal("GET", headers)
        if refusal is not None:
            request.send_error(refusal.status, refusal.reason)
            return
        if request.path.partition("?")[0] != "/metrics":
            request.send_error(HTTPStatus.NOT_FOUND, "metrics are at /metrics")
            return
        body, content_type = self.text(headers.get("accept", ""))
        request.send_response(HTTPStatus.OK)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("X-Content-Type-Options", "nosniff")
        request.end_headers()
        request.wfile.write(body)
