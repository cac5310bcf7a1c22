"""The fixtures of our own tests are those that users get."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ["poolhouse.testing.plugin"]

#: Characters of a name of a test that come from one text parameter.
_NAMED = 60


def pytest_configure() -> None:
    """Take Ctrl-C as in a terminal: a background job ignores it, and so would what a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a run without arguments leaves out."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        terminalreporter.write_line(
            "left out: stacks of processes, browsers, rehearsals and machines of all kinds (./invoke test --all)"
        )


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a long text by its beginning and its size: processes send names to each other, and children inherit them."""
    if isinstance(val, str | bytes) and len(val) > _NAMED:
        beginning = val[:_NAMED] if isinstance(val, str) else val[:_NAMED].decode("latin-1")
        return f"{beginning}…{len(val)}".encode("unicode_escape").decode("ascii")
    return None
