"""What a bucket's client makes of refusals, and of an environment that changes under it."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest
from google.api_core import exceptions as google_errors

from poolhouse.pipeline import store
from poolhouse.pipeline.errors import StoreForbidden, StoreUnavailable
from poolhouse.pipeline.store import GcsStore


@pytest.mark.parametrize("error", [google_errors.Forbidden("no role"), google_errors.Unauthorized("no token")])
def test_a_role_that_is_missing_is_waited_for_like_an_outage(error: Exception) -> None:
    with pytest.raises(StoreForbidden, match="or has not granted it yet"), store._errors("tasks/x.json"):
        raise error
    assert issubclass(StoreForbidden, StoreUnavailable)


def test_a_proxy_that_a_handler_sets_is_not_asked_for_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.delenv("http_proxy", raising=False)
    objects = GcsStore("some-bucket", project="unit", timeout_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(StoreUnavailable):
            objects.open_read("files/x")
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_proxy_of_the_environment_that_the_process_began_with_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://storage.example:9")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        objects = GcsStore("some-bucket", project="unit", timeout_s=0.2)
        monkeypatch.delenv("http_proxy")
        with pytest.raises(StoreUnavailable):
            objects.open_read("files/x")
        proxy.settimeout(1)
        proxy.accept()[0].close()


def test_an_upload_session_is_opened_for_the_origin_of_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    origins: list[str | None] = []

    class Storage(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            origins.append(self.headers["Origin"])
            self.send_response(200)
            self.send_header("Location", "http://storage.example/session")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Storage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        objects = GcsStore("some-bucket", project="unit")
        for origin in ("https://app.example", None):
            url = objects.upload_session("uploads/a", content_type="text/plain", size_bytes=1, origin=origin)
            assert url == "http://storage.example/session"
        server.shutdown()
        thread.join()
    assert origins == ["https://app.example", None]
