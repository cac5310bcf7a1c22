"""Checkouts for the tests of environments, and the time that each case takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.kit.environments import checkout
from tests.kit.environments.checkout import Checkout
from tests.kit.waiting import until

_took_s: dict[str, float] = {}
_left_out: dict[str, str] = {}


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


def lacking(what: str) -> NoReturn:
    """Leave a case out because this machine lacks what it needs; the summary says so."""
    pytest.skip(f"this machine lacks {what}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long a case took, and why another was left out."""
    name = report.nodeid.partition("::")[2]
    if Path(__file__).parent.name not in report.nodeid:
        return
    if report.skipped and isinstance(report.longrepr, tuple):
        _left_out[name] = report.longrepr[2]
    elif report.when == "call":
        _took_s[name] = report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the time of each case."""
    terminalreporter.section("time of each environment")
    for name, took_s in _took_s.items():
        terminalreporter.write_line(f"{took_s:6.1f} s  {name}")
    for name, why in _left_out.items():
        terminalreporter.write_line(f"not tried  {name} ({why})", yellow=True)
    terminalreporter.write_line(f"{sum(_took_s.values()):6.1f} s  {len(_took_s)} in all")
