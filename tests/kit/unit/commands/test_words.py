from __future__ import annotations

from types import SimpleNamespace

import pytest
from invoke import Context, task

from poolhouse.commands import free_arguments


@task(positional=["kind"], iterable=["word"])
def send(c: Context, kind: str, word: list[str], file: str = "", dry_run: bool = False) -> None:
    """Send."""


@task(positional=[], iterable=["word"])
def show(c: Context, word: list[str], limit: int = 3) -> None:
    """Show."""


COMMANDS = {"send": send, "show": show}


@pytest.mark.parametrize(
    ("line", "spread"),
    [
        ("send t", "send t"),
        ("send t a=1 b=2", "send t --word a=1 --word b=2"),
        ("send t a=1 --file x=y b=2", "send t --word a=1 --file x=y --word b=2"),
        ("send --file x=y t a=1", "send --file x=y t --word a=1"),
        ("send t --file=x a=1", "send t --file=x --word a=1"),
        ("send t -f x a=1", "send t -f x --word a=1"),
        ("send t a=1 --dry-run b=2", "send t --word a=1 --dry-run --word b=2"),
        ("send t --word a=1 b=2", "send t --word a=1 --word b=2"),
        ("send", "send"),
        ("show", "show"),
        ("show one two --limit 3 send", "show --word one --word two --limit 3 --word send"),
        ("other a=1", "other a=1"),
        ("", ""),
    ],
)
def test_free_words_are_handed_to_the_option_and_values_of_options_are_not(line: str, spread: str) -> None:
    assert free_arguments.spread(line.split(), commands=COMMANDS) == spread.split()


def test_a_program_that_reads_its_command_line_gets_the_words_spread() -> None:
    program = SimpleNamespace(core=SimpleNamespace(unparsed=["show", "one"]))
    free_arguments.install(program, show)
    assert program.core.unparsed == ["show", "--word", "one"]


def test_a_program_that_runs_nothing_is_left_alone() -> None:
    free_arguments.install(SimpleNamespace(), show)
