"""`GET /health` of a worker, for probes: 200 while it gets on with its work; otherwise 503, with the reasons."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from poolhouse.pipeline.errors import ConfigError
from poolhouse.worker.runtime.health.vitals import Judge, Vitals

#: Longest time for a request to come in whole, in seconds.
REQUEST_S = 5.0


class HealthEndpoint:
    """A server on a thread of its own, from `start` until `stop`."""

    def __init__(self, vitals: Callable[[], Vitals], *, host: str, port: int) -> None:
        """Listen; nothing is answered yet.

        Args:
            vitals: of the worker.
            host: address to listen at.
            port: and port; 0: any that is free.

        Raises:
            ConfigError: something else listens there.
        """
        judge, lock = Judge(), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S

            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/health":
                    self.send_error(404)
                    return
                with lock:
                    problems = judge.problems(vitals(), at_s=time.monotonic())
                body = json.dumps({"live": not problems, "problems": problems}).encode()
                self.send_response(503 if problems else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Probes are no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigError(f"WORKER_HEALTH_PORT: {host}:{port}: {error.strerror or error}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
