"""Runs every test of this folder on our emulator and on Google's, and writes the table of docs/emulator.md.

pytest tests/kit/conformance/semantics                   both; known deviations of Google's are strict xfails
pytest tests/kit/conformance/semantics --emulator-table docs/emulator.md    also writes the table
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.conformance.semantics.targets import GOOGLE_VERSION, TARGETS, Clients, Project
from tests.kit.conformance.table import Column, Table

_ROW = "emulator-row"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--emulator-table", type=Path, help="file whose conformance table is written from this run")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"google_deviates(reason): Google's emulator {GOOGLE_VERSION} fails this")
    path = config.getoption("--emulator-table")
    if path is not None and not hasattr(config, "workerinput"):
        columns = {"ours": Column("ours"), "google": Column("Google's")}
        table = Table(path, option="--emulator-table", row=_ROW, columns=columns, deviation="Google's deviation")
        config.pluginmanager.register(table, "emulator-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        deviation = item.get_closest_marker("google_deviates")
        callspec = getattr(item, "callspec", None)
        if deviation is not None and callspec is not None and callspec.params.get("clients") == "google":
            item.add_marker(pytest.mark.xfail(reason=deviation.args[0], strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "clients" in callspec.params:
        function = getattr(item, "originalname", item.name)
        report.user_properties.append((_ROW, (item.path.stem, function, callspec.params["clients"], "")))
    return report


@pytest.fixture(scope="session", params=list(TARGETS))
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    with TARGETS[request.param]() as target:
        clients = Clients(target)
        yield clients
        clients.channel.close()


@pytest.fixture
def project(clients: Clients) -> Iterator[Project]:
    project = Project(clients)
    yield project
    project.close()
