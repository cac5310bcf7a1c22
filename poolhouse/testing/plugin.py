"""Fixtures for tests of a pipeline, in every project that installs the package (entry point `pytest11`).

`pipeline` is the one that most tests want: docs/testing.md. Below it are servers for a session, and names of their own
for each test:

    def test_a_task_is_published(poolhouse_settings):
        publisher = Publisher(poolhouse_settings)      # topics, subscriptions and bucket are there, and empty

    def test_the_whole_pipeline(poolhouse_stack):
        requests.post(f"{poolhouse_stack.endpoints.api_url}/submit-task", json={...})
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poolhouse.local.backend import Backend, Endpoints, UpOptions
from poolhouse.local.processes import environment
from poolhouse.project import ROOT

if TYPE_CHECKING:
    from poolhouse.local.storage.fake_gcs import FakeGcs
    from poolhouse.local.storage.proxy import FaultProxy
    from poolhouse.pipeline.config.settings import Settings
    from poolhouse.testing.levels import Level
    from poolhouse.testing.pipeline import Pipeline
    from poolhouse.testing.servers import Servers
    from poolhouse_pubsub.server import EmulatorServer

#: The words of `--backend`, from the fastest to the most real.
LEVELS = ("inline", "in-process", "embedded", "containers")
#: The stack of a level, by its word; of the others, processes.
_STACKS = {"containers": "compose"}


@dataclass(frozen=True)
class Stack:
    """A whole stack that is up."""

    backend: Backend
    endpoints: Endpoints


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--backend`: what the servers and the stack of the tests are."""
    parser.getgroup("poolhouse").addoption(
        "--backend",
        default="in-process",
        choices=LEVELS,
        help="the level of `pipeline`, and what runs Pub/Sub, storage and the stack of other tests (%(default)s)",
    )


@pytest.fixture(scope="session")
def pipeline_file() -> str:
    """The pipeline.toml of the fixture `pipeline`: the project's, or one with a single queue where it has none."""
    own = ROOT / "pipeline.toml"
    return str(own if own.is_file() else Path(__file__).with_name("default_pipeline.toml"))


@pytest.fixture(scope="session")
def pipeline_handlers() -> tuple[str, ...]:
    """The modules whose handlers the fixture `pipeline` has; none: those that pipeline.toml names."""
    return ()


@pytest.fixture(scope="session")
def pipeline_level(request: pytest.FixtureRequest) -> Iterator[Level | None]:
    """What all pipelines of the session share; None on a stack."""
    from poolhouse.testing import levels  # noqa: PLC0415 - tests that need none of it don't pay for it

    kind = {"inline": levels.Level, "in-process": levels.ServerLevel}.get(request.config.getoption("--backend"))
    if kind is None:
        yield None
        return
    with neutral_environment():
        level = kind()
        try:
            yield level
        finally:
            level.close()


@pytest.fixture
def pipeline(
    request: pytest.FixtureRequest,
    pipeline_level: Level | None,
    pipeline_file: str,
    pipeline_handlers: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pipeline]:
    """A pipeline of this test's own, on the level that `--backend` names; see `poolhouse.testing.pipeline.Pipeline`."""
    if pipeline_level is None:
        yield from _on_stack(request, pipeline_file, pipeline_handlers)
        return
    for name in ("GOOGLE_CLOUD_PROJECT", "BUCKET_NAME", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"):
        monkeypatch.setenv(name, "")  # so that it is put back
    opened = pipeline_level.open(pipeline_file=pipeline_file, modules=pipeline_handlers)
    try:
        yield opened
    finally:
        opened.close()


def _on_stack(request: pytest.FixtureRequest, file: str, modules: tuple[str, ...]) -> Iterator[Pipeline]:
    from poolhouse.pipeline.config.settings import Settings  # noqa: PLC0415 - as above
    from poolhouse.testing.stack_pipeline import StackPipeline  # noqa: PLC0415
    from poolhouse.worker import registry  # noqa: PLC0415

    if modules or file != str(ROOT / "pipeline.toml"):
        pytest.skip("a stack runs the project's own pipeline.toml and handlers: use --backend inline or in-process")
    stack: Stack = request.getfixturevalue("poolhouse_stack")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.endpoints.environment().items():
            patch.setenv(name, value)
        settings = Settings(
            google_cloud_project=stack.endpoints.project, bucket_name=stack.endpoints.bucket, pipeline_file=file
        )
        opened = StackPipeline(
            settings,
            registry=registry.load(settings.handlers),
            endpoints=stack.endpoints,
            level=request.config.getoption("--backend"),
        )
        try:
            yield opened
        finally:
            opened.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the timeline of its pipeline to the report of a test that failed."""
    report = yield
    if report.failed and report.when == "call":
        opened = getattr(item, "funcargs", {}).get("pipeline")
        if callable(timeline := getattr(opened, "timeline", None)):  # a project may have a fixture of that name itself
            report.sections.append(("pipeline: what happened", timeline()))
    return report


@contextmanager
def neutral_environment() -> Iterator[None]:
    """Keep what the developer's environment says of proxies and Google Cloud from clients of local servers."""
    with pytest.MonkeyPatch.context() as patch:
        neutral = environment.client()
        for name in os.environ.keys() - neutral.keys():
            patch.delenv(name)
        for name, value in neutral.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def poolhouse_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Pub/Sub and storage servers, for all tests of the session."""
    from poolhouse.testing.servers import provider  # noqa: PLC0415 - tests that need no server don't pay for it

    with neutral_environment(), provider(request.config.getoption("--backend"))() as servers:
        yield servers


@pytest.fixture(scope="session")
def poolhouse_emulator(poolhouse_servers: Servers) -> EmulatorServer:
    """Poolhouse's Pub/Sub emulator, whose clock and faults a test can command; shared: use names of your own."""
    if poolhouse_servers.emulator is None:
        pytest.skip("needs Poolhouse's own Pub/Sub emulator: any --backend but containers")
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
    from poolhouse.pipeline.config import settings  # noqa: PLC0415

    loaded = settings.load()
    realise(loaded)
    return loaded


@pytest.fixture(scope="session")
def poolhouse_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack, API and a worker included, for all tests of the session."""
    from poolhouse.local import backends  # noqa: PLC0415 - as above

    word = request.config.getoption("--backend")
    state_dir = tmp_path_factory.mktemp("stack")
    backend = backends.choose(_STACKS.get(word, "embedded"), state_dir=state_dir).backend
    options = UpOptions(attached=True, api_port=0, console_port=0, timeout_s=120)
    endpoints = backend.up(options, lambda _: None)
    try:
        yield Stack(backend, endpoints)
    finally:
        backend.down()
