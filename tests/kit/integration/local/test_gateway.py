"""The gateway that publishes the servers of a Compose stack: programs pass it, web pages don't."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from google.cloud import pubsub_v1

from poolhouse.local.probe import answers
from poolhouse.local.processes import ports
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.store import open_store
from poolhouse.project import ROOT
from poolhouse.testing.servers import Servers
from tests.kit.waiting import until

PAGE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}


@pytest.fixture
def gateway(poolhouse_servers: Servers) -> Iterator[tuple[str, str]]:
    """HOST:PORT of Pub/Sub and of storage, behind the gateway."""
    pubsub, storage = ports.choose(), ports.choose()
    command = [sys.executable, "-m", "poolhouse.local.storage.proxy.gateway", "--host", ports.HOST]
    command += [f"{pubsub}={poolhouse_servers.pubsub_host}"]
    command += [f"{storage}={poolhouse_servers.storage_url.removeprefix('http://')}"]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        until(lambda: answers(f"http://{ports.HOST}:{pubsub}/"), "the gateway answers")
        yield f"{ports.HOST}:{pubsub}", f"{ports.HOST}:{storage}"
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_programs_pass_and_pages_do_not(
    gateway: tuple[str, str], poolhouse_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pubsub, storage = gateway
    monkeypatch.setitem(os.environ, "PUBSUB_EMULATOR_HOST", pubsub)
    monkeypatch.setitem(os.environ, "STORAGE_EMULATOR_HOST", f"http://{storage}")
    project = poolhouse_settings.google_cloud_project
    topic = f"projects/{project}/topics/behind-the-gateway"
    with pubsub_v1.PublisherClient() as client:  # gRPC
        client.create_topic(name=topic)
        assert client.publish(topic, b"x" * 1_000_000).result(timeout=10)
    store = open_store(poolhouse_settings)
    store.put("behind/the-gateway", b"y" * 1_000_000)
    assert len(store.get("behind/the-gateway")[0]) == 1_000_000

    listing = f"http://{storage}/storage/v1/b/{poolhouse_settings.bucket_name}/o"
    for url in (f"http://{pubsub}/v1/{topic}", listing):
        assert requests.get(url, timeout=10).ok
        assert requests.get(url, headers={"Host": "pubsub"}, timeout=10).ok
        assert requests.get(url, headers=PAGE, timeout=10).status_code == 403
        assert requests.get(url, headers={"Host": "evil.example"}, timeout=10).status_code == 421
    assert requests.delete(f"http://{pubsub}/v1/{topic}", headers=PAGE, timeout=10).status_code == 403


def test_a_server_that_is_away_is_reported() -> None:
    port, nowhere = ports.choose(), ports.choose()
    command = [
        sys.executable,
        "-m",
        "poolhouse.local.storage.proxy.gateway",
        "--host",
        ports.HOST,
        f"{port}=127.0.0.1:{nowhere}",
    ]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            until(lambda: not ports.is_free(port), "the gateway listens")
            assert requests.get(f"http://{ports.HOST}:{port}/", timeout=10).status_code == 503
        finally:
            process.terminate()
