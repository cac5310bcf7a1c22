"""Runs every test of this folder on the storage server of the local stack, alone and behind the storage proxy.

pytest tests/kit/conformance/storage                                            both; known deviations are strict xfails
pytest tests/kit/conformance/storage --storage-table docs/storage-emulator.md   also writes the table of that page
pytest tests/kit/conformance/storage --backend containers                       the image of docker-compose.yml
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.storage import Bucket

from poolhouse.local.compose.file import storage_image
from poolhouse.testing.plugin import neutral_environment
from tests.kit.conformance.storage.targets import TARGETS, VERSION, Target
from tests.kit.conformance.table import Column, Table

_ROW = "storage-row"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--storage-table", type=Path, help="file whose conformance table is written from this run")


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        f"server_deviates(reason): fake-gcs-server {VERSION} fails this; the proxy mends it",
        f"both_deviate(reason): fake-gcs-server {VERSION} fails this, behind the proxy too",
        "needed: the kit relies on it",
    ):
        config.addinivalue_line("markers", line)
    path = config.getoption("--storage-table", None)
    if path is not None and not hasattr(config, "workerinput"):
        columns = {"server": Column("alone", title="fake-gcs-server"), "proxy": Column("behind the proxy")}
        table = Table(path, option="--storage-table", row=_ROW, columns=columns, note="the kit needs it")
        config.pluginmanager.register(table, "storage-table")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        in_containers = metafunc.config.getoption("--backend") == "containers"
        metafunc.parametrize(
            "target", ["image"] if in_containers else ["server", "proxy"], indirect=True, scope="session"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        target = _target(item)
        if target is None:
            continue
        for mark in ("server_deviates", "both_deviate"):
            deviation = item.get_closest_marker(mark)
            if deviation is not None and (target != "proxy" or mark == "both_deviate"):
                # Another image may be right where this version is not: STORAGE_IMAGE=fsouza/fake-gcs-server:1.56.1
                listed = target != "image" or storage_image(os.environ).endswith(f":{VERSION}")
                item.add_marker(pytest.mark.xfail(reason=deviation.args[0], strict=listed))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    target = _target(item)
    if target is not None:
        function = getattr(item, "originalname", item.name)
        note = "●" if item.get_closest_marker("needed") else ""
        report.user_properties.append((_ROW, (item.path.stem, function, target, note)))
    return report


def _target(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("target") if callspec is not None else None


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A running server."""
    with neutral_environment(), TARGETS[request.param]() as url:
        yield Target.at(request.param, url)


@pytest.fixture
def bucket(target: Target) -> Bucket:
    """A bucket of this test's own."""
    return target.bucket()
