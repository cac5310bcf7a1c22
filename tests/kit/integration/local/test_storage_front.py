"""The storage server of a local stack, as programs and web pages meet it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from poolhouse.local.errors import StackError
from poolhouse.local.probe import answers
from poolhouse.local.processes import ports
from poolhouse.local.storage import fake_gcs
from poolhouse.local.storage.fake_gcs import FakeGcs
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.store import open_store
from poolhouse.testing.servers import Servers, storage_server
from tests.kit.waiting import until

PAGE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def base(poolhouse_servers: Servers, poolhouse_settings: Settings) -> str:
    if poolhouse_servers.emulator is None:
        pytest.skip("the server of a container has no front")
    open_store(poolhouse_settings).put("config/task-id-key", b"secret")
    return f"{poolhouse_servers.storage_url}/storage/v1/b/{poolhouse_settings.bucket_name}/o"


@pytest.mark.parametrize(
    "headers", [PAGE, {"Host": "evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_other_sites_neither_read_nor_write(base: str, headers: dict[str, str]) -> None:
    upload = base.replace("/storage/", "/upload/storage/")
    answers = [
        requests.get(base, headers=headers, timeout=10),
        requests.get(f"{base}/config%2Ftask-id-key?alt=media", headers=headers, timeout=10),
        requests.options(base, headers={**headers, "Access-Control-Request-Method": "DELETE"}, timeout=10),
        requests.delete(f"{base}/config%2Ftask-id-key", headers=headers, timeout=10),
        requests.post(f"{upload}?uploadType=media&name=x", b"x", headers=headers, timeout=10),
        requests.post(f"{upload}?uploadType=resumable&name=x", headers=headers, timeout=10),
    ]
    assert {answer.status_code for answer in answers} <= {403, 421}
    for answer in answers:
        assert b"secret" not in answer.content
        assert "access-control-allow-origin" not in answer.headers
    names = {item["name"] for item in requests.get(base, timeout=10).json()["items"]}
    assert "config/task-id-key" in names
    assert "x" not in names


def test_a_page_may_write_to_an_upload_session_that_it_was_given(base: str, poolhouse_settings: Settings) -> None:
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    store = open_store(poolhouse_settings)
    url = store.upload_session(
        "uploads/page.txt", content_type="text/plain", size_bytes=None, origin="https://app.example"
    )
    preflight = requests.options(
        url,
        headers={**page, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"},
        timeout=10,
    )
    assert preflight.headers["access-control-allow-origin"] in ("*", page["Origin"])
    assert requests.put(url, b"from a page", headers=page, timeout=10).ok
    assert store.get("uploads/page.txt")[0] == b"from a page"
    assert requests.get(base, headers=page, timeout=10).status_code == 403
    assert requests.put(url, b"x", headers={**page, "Host": "evil.example"}, timeout=10).status_code == 421


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize(
    "query", ["upload_id=0123456789abcdef0&name=x", "name=x&uploadType=media&upload_id=0123456789abcdef0"]
)
def test_an_invented_session_is_none(base: str, method: str, query: str) -> None:
    upload = base.replace("/storage/", "/upload/storage/")
    assert not requests.request(method, f"{upload}?{query}", data=b"x", headers=PAGE, timeout=10).ok
    assert "x" not in {item["name"] for item in requests.get(base, timeout=10).json()["items"]}


def test_a_chunked_upload_of_some_megabytes_arrives_whole(base: str, poolhouse_settings: Settings) -> None:
    data = bytes(range(256)) * 20_000
    pieces = (data[start : start + 70_001] for start in range(0, len(data), 70_001))
    upload = base.replace("/storage/", "/upload/storage/")
    assert requests.post(f"{upload}?uploadType=media&name=chunked", pieces, timeout=30).ok
    assert open_store(poolhouse_settings).get("chunked")[0] == data


def test_a_broken_request_after_a_good_one_is_refused(base: str) -> None:
    parts = urlsplit(base)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        good = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        connection.sendall(good)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 421")


def test_the_server_takes_writes_at_the_rates_of_cloud_storage_where_it_is_told_to(tmp_path: Path) -> None:
    port, inner = ports.choose(), fake_gcs.hidden_address()
    command = fake_gcs.command(port=port, root=tmp_path / "objects", inner=inner, gcs_limits=True)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            addresses = [f"http://127.0.0.1:{port}", f"http://{inner}"]  # as pages and as the stack's own processes do
            until(lambda: all(answers(f"{address}/_internal/healthcheck") for address in addresses))
            client = FakeGcs(addresses[0])
            client.create_bucket("box")
            client.close()
            for number, address in enumerate(addresses):
                upload = f"{address}/upload/storage/v1/b/box/o?uploadType=media&name=a{number}"
                made, again = (requests.post(upload, b"x", timeout=10) for _ in range(2))
                assert (made.status_code, again.status_code) == (200, 429)
                assert again.json()["error"]["errors"][0]["reason"] == "rateLimitExceeded"
        finally:
            server.terminate()
            told = server.communicate(timeout=20)[1]
    assert "429, changed again too early: object box/a0" in told


def test_one_that_does_not_start_is_shown_with_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (sys.executable, "-c", "raise SystemExit('no room for objects')")
    monkeypatch.setattr(fake_gcs, "command", lambda **_: program)
    with pytest.raises(StackError, match="did not start: no room for objects"), storage_server():
        pass
