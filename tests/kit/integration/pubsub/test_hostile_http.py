"""What the emulator's HTTP side does with clients that mean harm, or end nothing that they begin."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
import requests

from poolhouse_pubsub import http
from poolhouse_pubsub.server import EmulatorServer
from poolhouse_pubsub.transport import multiplexer

SUBSCRIPTION = "projects/p1/subscriptions/workers"


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer() as running:
        base = f"http://{running.address}/v1"
        assert requests.put(f"{base}/projects/p1/topics/orders", json={}, timeout=10).ok
        assert requests.put(f"{base}/{SUBSCRIPTION}", json={"topic": "projects/p1/topics/orders"}, timeout=10).ok
        yield running


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "pubsub:8085"}, 200),
        ({"Host": "host.docker.internal:8085"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused_and_containers_are_not(
    server: EmulatorServer, headers: dict[str, str], status: int
) -> None:
    for method, path in (("GET", f"/v1/{SUBSCRIPTION}"), ("GET", "/admin/subscriptions"), ("POST", "/reset")):
        assert (
            requests.request(method, f"http://{server.address}{path}", headers=headers, timeout=10).status_code
            == status
        )
        if status != 200:
            assert SUBSCRIPTION in server.emulator.subscriptions


@pytest.mark.parametrize("path", ["/admin/faults", "/admin/clock/advance", f"/v1/{SUBSCRIPTION}:pull"])
@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"kind":' * 100_000, b"\xff", b"NaN", b'{"kind": NaN}', b'{"seconds": 1e999}', b'"\\ud800"'],
)
def test_no_json_is_an_error_of_ours(server: EmulatorServer, path: str, body: bytes) -> None:
    answer = requests.post(f"http://{server.address}{path}", body, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "fault",
    [
        '{"kind": "error", "count": NaN}',
        '{"kind": "error", "count": 1e999}',
        '{"kind": "error", "count": 1.5}',
        '{"kind": "error", "count": true}',
        '{"kind": "error", "probability": NaN}',
        '{"kind": "error", "methods": "Publish"}',
        '{"kind": "error", "subscription": 7}',
        '{"kind": "error", "happened": 3}',
        '{"kind": "error", "code": ["UNAVAILABLE"]}',
        '{"kind": "latency", "seconds": 1e300}',
        '{"kind": "latency", "seconds": -1}',
        '{"kind": ["latency"]}',
    ],
)
def test_a_fault_of_wrong_values_is_refused_and_not_set(server: EmulatorServer, fault: str) -> None:
    url = f"http://{server.address}/admin/faults"
    assert requests.post(url, fault, timeout=10).status_code == 400
    assert requests.get(url, timeout=10).json() == {"faults": []}


def test_what_comes_while_a_pull_waits_stays_with_the_client(server: EmulatorServer) -> None:
    process = psutil.Process()
    with socket.create_connection((server.host, server.port), timeout=1) as connection:
        body = json.dumps({"maxMessages": 1}).encode()
        head = f"POST /v1/{SUBSCRIPTION}:pull HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        before, sent, piece = process.memory_info().rss, 0, b"x" * 1_000_000
        with suppress(TimeoutError):
            while sent < 300_000_000:
                sent += connection.send(piece)
        assert sent < 50_000_000
        assert process.memory_info().rss - before < 100_000_000


def test_requests_that_come_while_one_is_answered_are_all_answered(server: EmulatorServer) -> None:
    request = b"GET /admin/clock HTTP/1.1\r\nHost: localhost\r\nX-Pad: " + b"x" * 2000 + b"\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(request * 200)
        answers = b""
        while answers.count(b'"manual"') < 200:
            answers += connection.recv(65536)
    assert answers.count(b"HTTP/1.1 200") == 200


@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"", b""),
        (b"PRI * HT", b""),
        (b"GET /admin/cl", b"HTTP/1.1 408"),
        (b"GET /admin/clock HTTP/1.1\r\nHost: localhost\r\n", b"HTTP/1.1 408"),
        (b"POST /reset HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{", b"HTTP/1.1 408"),
        (b"GET /admin/clock HTTP/1.1\r\nHost: localhost\r\n\r\nGET /admin/clock HT", b"HTTP/1.1 200"),
    ],
)
def test_a_request_that_is_never_ended_is_not_waited_for(
    server: EmulatorServer, monkeypatch: pytest.MonkeyPatch, begun: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT_S", 0.2)
    monkeypatch.setattr(multiplexer, "REQUEST_TIMEOUT_S", 0.2)
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(begun)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    assert received.startswith(answer)


def test_a_connection_between_two_requests_stays_open(server: EmulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT_S", 0.05)
    request = b"GET /admin/clock HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection((server.host, server.port), timeout=0.3) as connection:
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
