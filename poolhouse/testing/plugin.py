"""Fixtures for tests of a pipeline: servers for a session, names of their own for each test.

In a `conftest.py`: `pytest_plugins = ["poolhouse.testing.plugin"]`. Then:

    def test_a_task_is_published(poolhouse_settings):
        publisher = Publisher(poolhouse_settings)      # topics, subscriptions and bucket are there, and empty

    def test_the_whole_pipeline(poolhouse_stack):
        requests.post(f"{poolhouse_stack.endpoints.api_url}/submit-task", json={...})
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from poolhouse.local.backend import Backend, Endpoints, UpOptions
from poolhouse.local.processes import environment
from poolhouse.project import ROOT

if TYPE_CHECKING:
    from poolhouse.local.storage.fake_gcs import FakeGcs
    from poolhouse.local.storage.proxy import FaultProxy
    from poolhouse.pipeline.settings import Settings
    from poolhouse.testing.servers import Servers
    from poolhouse_pubsub.server import EmulatorServer


@dataclass(frozen=True)
class Stack:
    """A whole stack that is up."""

    backend: Backend
    endpoints: Endpoints


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--backend`: what the servers and the stack of the tests are."""
    parser.getgroup("poolhouse").addoption(
        "--backend", default="embedded", help="what runs Pub/Sub, storage and the stack of the tests (%(default)s)"
    )


@pytest.fixture(scope="session")
def poolhouse_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Pub/Sub and storage servers, for all tests of the session."""
    from poolhouse.testing.servers import provider  # noqa: PLC0415 - tests that need no server don't pay for it

    # What the developer's environment says of proxies and Google Cloud is not for the clients of these servers.
    with pytest.MonkeyPatch.context() as patch:
        neutral = environment.client()
        for name in os.environ.keys() - neutral.keys():
            patch.delenv(name)
        for name, value in neutral.items():
            patch.setenv(name, value)
        with provider(request.config.getoption("--backend"))() as servers:
            yield servers


@pytest.fixture(scope="session")
def poolhouse_emulator(poolhouse_servers: Servers) -> EmulatorServer:
    """Poolhouse's Pub/Sub emulator, whose clock and faults a test can command; shared: use names of your own."""
    if poolhouse_servers.emulator is None:
        pytest.skip("needs Poolhouse's own Pub/Sub emulator: --backend embedded")
    return poolhouse_servers.emulator


@pytest.fixture(scope="session")
def fake_gcs(poolhouse_servers: Servers) -> Iterator[FakeGcs]:
    """A client of the storage server; shared: use a bucket of your own."""
    from poolhouse.local.storage.fake_gcs import FakeGcs  # noqa: PLC0415 - as above

    client = FakeGcs(poolhouse_servers.storage_url)
    yield client
    client.close()


@pytest.fixture
def poolhouse_environment(poolhouse_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a pipeline whose project and bucket no other test has, set for this test; nothing made yet."""
    unique = secrets.token_hex(5)
    variables = {
        "GOOGLE_CLOUD_PROJECT": f"test-{unique}",
        "BUCKET_NAME": f"test-{unique}",
        "PUBSUB_EMULATOR_HOST": poolhouse_servers.pubsub_host,
        "STORAGE_EMULATOR_HOST": poolhouse_servers.storage_url,
        "PIPELINE_FILE": str(ROOT / "pipeline.toml"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def storage_proxy(
    poolhouse_servers: Servers, poolhouse_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultProxy]:
    """A proxy between this test's pipeline and storage, whose `faults` a test can command.

    Clients that are made from now on use it: in a test's parameters, put it before what makes them.
    """
    from poolhouse.local.storage.proxy import FaultProxy  # noqa: PLC0415 - as above

    with FaultProxy(poolhouse_servers.storage_url) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def poolhouse_settings(poolhouse_environment: dict[str, str]) -> Settings:
    """The settings of a pipeline of this test's own, its topics, subscriptions and bucket made."""
    from poolhouse.local.provision import realise  # noqa: PLC0415 - as above
    from poolhouse.pipeline import settings  # noqa: PLC0415

    loaded = settings.load()
    realise(loaded)
    return loaded


@pytest.fixture(scope="session")
def poolhouse_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack, API and a worker included, for all tests of the session."""
    from poolhouse.local import backends  # noqa: PLC0415 - as above

    state_dir = tmp_path_factory.mktemp("stack")
    backend = backends.choose(request.config.getoption("--backend"), state_dir=state_dir).backend
    options = UpOptions(attached=True, api_port=0, console_port=0, timeout_s=120)
    endpoints = backend.up(options, lambda _: None)
    try:
        yield Stack(backend, endpoints)
    finally:
        backend.down()
