"""Checkouts for the tests of environments, and the time that each case takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.environments import checkout
from tests.kit.environments.checkout import Checkout
from tests.kit.waiting import until

_took_s: dict[str, float] = {}


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in an ordinary folder, with the environment of this one."""
    return checkout.make(tmp_path_factory.mktemp("plain") / "poolhouse")


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in a folder whose name many programs get wrong."""
    return checkout.make(tmp_path_factory.mktemp("odd") / "dir ü 'n' [b] %41 $HOME" / "check out")


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a case did, none of its processes is left."""
    yield
    for value in list(request.node.funcargs.values()):
        if isinstance(value, Checkout):
            until(lambda: not value.processes(), lambda: f"left: {value.processes()}", timeout_s=15)  # noqa: B023


def lacking(what: str) -> None:
    """Say that this machine lacks what a case needs; a failure in CI, where it has to be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"this machine lacks {what}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long a case took."""
    if report.when == "call" and Path(__file__).parent.name in report.nodeid:
        _took_s[report.nodeid.partition("::")[2]] = report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the time of each case."""
    terminalreporter.section("time of each environment")
    for name, took_s in _took_s.items():
        terminalreporter.write_line(f"{took_s:6.1f} s  {name}")
    terminalreporter.write_line(f"{sum(_took_s.values()):6.1f} s  {len(_took_s)} in all")
