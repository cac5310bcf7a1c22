"""Foreign text does not command the terminal, whichever way it gets there."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolhouse.commands.terminal import Terminal
from poolhouse.local.e2e.report import Report
from poolhouse.local.safe_console import SafeConsole
from poolhouse.pipeline.visible import visible

#: Set the title, clear the screen (C0 and C1), turn text around, a surrogate of an undecodable file name.
HOSTILE = "a\x1b]0;owned\x07b\x9b2Jc\u202ed\udce9e\x7f"
DANGEROUS = ("\x1b]", "\x07", "\x9b", "\u202e", "\udce9", "\x7f")


def colour(file: io.StringIO) -> SafeConsole:
    return SafeConsole(file=file, force_terminal=True, color_system="standard", width=200)


def test_control_characters_are_shown_not_sent() -> None:
    assert visible("\x1b[31m\x9b\u202e\udce9") == "\\x1b[31m\\x9b\\u202e\\udce9"
    assert visible("tab\tline\nümlaut 日本 🎉") == "tab\tline\nümlaut 日本 🎉"


@pytest.mark.parametrize("how", ["markup", "plain", "text", "table", "nested"])
def test_no_road_to_the_terminal_lets_them_through(how: str) -> None:
    file = io.StringIO()
    console = colour(file)
    table = Table("a", title=HOSTILE, caption=HOSTILE)
    table.add_row(Text(HOSTILE))
    table.add_row(HOSTILE)
    nested = Table("b")
    nested.add_row(table)
    if how == "plain":
        console.print(HOSTILE, markup=False)
    else:
        console.print({"markup": f"[red]{HOSTILE}[/]", "text": Text(HOSTILE), "table": table, "nested": nested}[how])
    written = file.getvalue()
    assert not [bad for bad in DANGEROUS if bad in written]
    assert "\\x1b]0;owned" in written
    if how == "markup":
        assert "\x1b[31m" in written, "our own colours are"


def test_what_is_tested_is_dangerous_without_it() -> None:
    file = io.StringIO()
    Console(file=file, width=200).print(HOSTILE, markup=False)
    assert "\x1b]" in file.getvalue()


def test_json_has_escapes_of_its_own_and_stays_the_same_value() -> None:
    file = io.StringIO()
    Terminal(out=colour(file), err=colour(file)).json({"reason": HOSTILE, "ok": "ü"})
    written = file.getvalue()
    assert not [bad for bad in DANGEROUS if bad in written]
    assert "ü" in written
    assert json.loads(written) == {"reason": HOSTILE, "ok": "ü"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "UTF8"])
def test_json_is_json_in_any_encoding_of_the_output(encoding: str) -> None:
    raw = io.BytesIO()
    terminal = Terminal(out=SafeConsole(file=io.TextIOWrapper(raw, encoding=encoding)))
    terminal.json({"name": "grün 日本"})
    terminal.out.file.flush()
    assert json.loads(raw.getvalue()) == {"name": "grün 日本"}


def test_a_terminal_that_lacks_a_character_gets_an_escape_and_no_error() -> None:
    raw = io.BytesIO()
    console = SafeConsole(file=io.TextIOWrapper(raw, encoding="ascii"), width=80)
    console.print("worker-1  │ grün")
    console.file.flush()
    assert raw.getvalue() == b"worker-1  \\u2502 gr\\xfcn\n"


@pytest.mark.parametrize("columns", ["0", "-1", "wide"])
def test_a_terminal_of_no_width_shows_all_the_same(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    file = io.StringIO()
    monkeypatch.setattr(file, "isatty", lambda: True)
    SafeConsole(file=file).print("ready at http://127.0.0.1:8080")
    assert file.getvalue() == "ready at http://127.0.0.1:8080\n"


@pytest.mark.parametrize("columns", [None, "20"])
def test_nothing_in_a_pipe_or_a_file_is_cut(columns: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    file = io.StringIO()
    table = Table("service", "last exit", box=None)
    table.add_row("worker-default-1", "killed by SIGKILL: " + "out of memory, " * 10)
    SafeConsole(file=file).print(table)
    assert len(file.getvalue().splitlines()) == 2
    assert "worker-default-1" in file.getvalue()
    assert "…" not in file.getvalue()


def test_what_moves_on_a_terminal_leaves_the_standard_streams_to_other_threads() -> None:
    streams = (sys.stdout, sys.stderr)
    console = colour(io.StringIO())
    with Terminal(out=console, err=console).bars() as bars:
        bars.add_task("up")
        assert (sys.stdout, sys.stderr) == streams
    with Report(console) as report:
        report.add("a case")
        assert (sys.stdout, sys.stderr) == streams
