"""What a bucket's client makes of refusals, and of an environment that changes under it."""

from __future__ import annotations

import socket

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
