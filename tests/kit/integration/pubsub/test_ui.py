"""The console beside the API on one port: what real clients leave in it, and who is let in."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import requests

from poolhouse_pubsub import protos
from poolhouse_pubsub.control.clients import TELEMETRY_HEADER
from poolhouse_pubsub.server import EmulatorServer

TOPIC = "projects/p/topics/orders"


@pytest.fixture
def server() -> Iterator[EmulatorServer]:
    with EmulatorServer(topology={"topics": ["orders"]}, project="p", ui=True) as server:
        yield server


def get(server: EmulatorServer, path: str, **headers: str) -> requests.Response:
    return requests.get(f"http://{server.address}{path}", headers=headers, timeout=10)


def test_clients_of_grpc_and_rest_are_seen_with_their_telemetry(server: EmulatorServer) -> None:
    assert "No calls since then." in get(server, "/ui/clients").text
    telemetry = protos.PubsubClientTelemetry(publish_operation={"hedged_attempt_count": 1})
    with grpc.insecure_channel(server.address) as channel:
        publish = channel.unary_unary("/google.pubsub.v1.Publisher/Publish")
        request = protos.PublishRequest(topic=TOPIC, messages=[{"data": b"x"}]).SerializeToString()
        value = base64.b64encode(telemetry.SerializeToString()).decode()
        publish(request, metadata=(("x-goog-api-client", "gl-test/1"), (TELEMETRY_HEADER, value)), timeout=10)
    get(server, f"/v1/{TOPIC}", **{"x-goog-api-client": "gl-rest/2"})
    shown = get(server, "/ui/clients").text
    assert "gl-test/1" in shown
    assert "1 publishes, 1 of them hedged, the latest as attempt 1" in shown
    assert "gl-rest/2" in shown
    assert "GetTopic 1" in shown


def test_the_console_is_served_only_where_it_is_asked_for() -> None:
    with EmulatorServer() as plain:
        assert get(plain, "/ui").status_code == 404


def test_the_guard_of_the_api_is_that_of_the_console(server: EmulatorServer) -> None:
    assert get(server, "/ui", Host="evil.example").status_code == 421
    answer = requests.post(
        f"http://{server.address}/ui/topics/p/orders/delete",
        headers={"Origin": "http://evil.example", "Content-Type": "application/x-www-form-urlencoded"},
        timeout=10,
    )
    assert answer.status_code == 403
    assert TOPIC in server.emulator.topics


def test_the_command_prints_where_the_console_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "poolhouse_pubsub", "--port", "0", "--ui"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4]) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            url = process.stdout.readline().removeprefix("Console: ").strip()
            assert "<h1>Overview</h1>" in requests.get(url, timeout=10).text
        finally:
            process.terminate()
