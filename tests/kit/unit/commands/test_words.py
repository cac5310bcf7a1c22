"""The command line of `./invoke`: free words, help, suggestions, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from invoke import Collection, Context, ParserContext, Task, task

from poolhouse.client.client import Client
from poolhouse.commands import collection, command_line, completion
from poolhouse.commands.tasks import calls
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT


@task(positional=["kind"], iterable=["word"], auto_shortflags=False, help={"file": "a file", "kind": "what to send"})
def send(c: Context, kind: str, word: list[str], file: str = "", dry_run: bool = False) -> None:
    """Send."""


@task(positional=[], iterable=["word"], auto_shortflags=False)
def show(c: Context, word: list[str], limit: int = 3) -> None:
    """Show."""


def context(command: Task) -> ParserContext:
    return command_line._command(Collection(command), command.name)


COMMANDS = {"send": context(send), "show": context(show)}


@pytest.mark.parametrize(
    ("line", "spread"),
    [
        ("send t", "send t"),
        ("send t a=1 b=2", "send t --word a=1 --word b=2"),
        ("send t a=1 --file x=y b=2", "send t --word a=1 --file x=y --word b=2"),
        ("send --file x=y t a=1", "send --file x=y t --word a=1"),
        ("send t --file=x a=1", "send t --file=x --word a=1"),
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
    tokens = line.split()
    assert command_line.spread(tokens, command=COMMANDS.get(line.partition(" ")[0])) == spread.split()


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("send --help", "send"),
        ("send -h", "send"),
        ("send t a=1 --dry-run --help", "send"),
        ("send t --file --help", None),  # the file's name
        ("help show", "show"),
        ("help other", None),
        ("show one", None),
        ("other --help", None),
        ("", None),
    ],
)
def test_help_is_given_for_the_command_that_is_named(line: str, wanted: str | None) -> None:
    tokens = line.split()
    command = COMMANDS.get(line.partition(" ")[0])
    assert command_line.help_wanted(tokens, command=command, names=COMMANDS) == wanted


def invoke(*words: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invoke", "--search-root", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


def test_settings_of_invoke_for_other_projects_change_no_command(tmp_path: Path) -> None:
    (tmp_path / ".invoke.yaml").write_text("tasks:\n  auto_dash_names: false\n  collection_name: fabfile\n")
    words = ("--search-root", str(ROOT), "--collection", "tasks", "new-task", "--help")
    ended = subprocess.run(
        (sys.executable, "-m", "invoke", *words),
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: ./invoke new-task [OPTIONS] NAME\n")


def test_a_command_prints_its_help_where_its_arguments_are_missing_too() -> None:
    ended = invoke("submit", "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith("Usage: ./invoke submit [OPTIONS] TYPE [WORD …]\n")
    assert "--wait             wait and print the result" in ended.stdout
    assert "--word" not in ended.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("upp", "there is no command 'upp'. Did you mean 'up'?"),
        ("submit greet --wayt", "submit has no option --wayt. Did you mean '--wait'? ./invoke submit --help"),
        ("status here", "status takes no argument 'here'. ./invoke status --help"),
        ("down sttus", "there is no command 'sttus'. Did you mean 'status'?"),
        ("tasks --limit", "invoke: tasks --limit takes a value. ./invoke tasks --help"),
        ("scale", "./invoke scale --help"),
        ("cost 100", "'cost' did not receive required positional arguments: 'seconds'. ./invoke cost --help"),
    ],
)
def test_a_mistake_is_wrong_use_and_names_what_is_nearest(line: str, said: str) -> None:
    ended = invoke(*line.split())
    assert ended.returncode == 2
    assert said in ended.stderr


def test_an_unknown_action_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"one of list, show, replay, discard\. Did you mean 'replay'\?"):
        calls.dlq(Client("http://127.0.0.1:1"), "relpay")


@pytest.mark.parametrize("name", sorted(collection(of_the_kit=True).task_names))
def test_every_command_and_every_option_has_a_text_and_no_option_a_letter(name: str) -> None:
    command = command_line._command(collection(of_the_kit=True), name)
    assert collection(of_the_kit=True)[name].__doc__
    for flags, text in command.help_tuples():
        assert text, f"{name} {flags}"
        assert flags.startswith("--"), f"{name} {flags}"


#: Commands that change, start or print something else than data.
ACTING = frozenset(
    {
        *(
            "up",
            "down",
            "images",
            "compose-file",
            "scale",
            "console",
            "submit",
            "cancel",
            "e2e",
            "test",
            "check",
            "chaos",
            "bench",
            "mutants",
        ),
        *(
            "lock",
            "upgrade",
            "new-project",
            "new-task",
            "new-key",
            "audit",
            "build",
            "docs",
            "completion",
            "deploy",
            "destroy",
            "rollback",
        ),
        *("rehearse", "github-oidc", "cancel", "export"),
    }
)


def test_every_command_that_reads_prints_for_programs_too() -> None:
    kit = collection(of_the_kit=True)
    reading = set(kit.task_names) - ACTING
    without = {
        name
        for name in reading
        if not {"--json", "--raw", "--format"}
        & {flags.split("=")[0] for flags, _ in command_line._command(kit, name).help_tuples()}
    }
    assert reading >= {"tasks", "dlq", "schedule", "status", "stages", "releases", "secret", "cost"}
    assert without == set()


def test_a_command_that_a_project_adds_gets_help_and_suggestions(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from invoke import task\nfrom poolhouse.commands import collection\n\n"
        "@task(help={'city': 'where'})\ndef forecast(c, city=''):\n    'Tell the weather.'\n\n"
        "ns = collection()\nns.add_task(forecast)\n"
    )
    misspelt = invoke("forcast", root=tmp_path)
    assert (misspelt.returncode, "Did you mean 'forecast'?" in misspelt.stderr) == (2, True)
    assert "--city=STRING   where" in invoke("help", "forecast", root=tmp_path).stdout


def test_bash_completes_commands_and_options_of_the_launcher() -> None:
    script = f"""
{completion._SCRIPT}
COMP_WORDS=(./invoke sub); _poolhouse_invoke ./invoke sub; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(./invoke submit greet --wa); _poolhouse_invoke ./invoke --wa; echo "${{COMPREPLY[@]}}"
"""
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert ended.stdout.splitlines() == ["submit", "--wait --watch"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("show --limit abc", "show --limit takes a whole number, not 'abc'."),
        ("show --limit=1.5", "show --limit takes a whole number, not '1.5'."),
        ("send t --file show show --limit x", "show --limit takes a whole number, not 'x'."),
        ("show --limit 1_0", "show --limit takes a whole number, not '1_0'."),
        ("show --limit=٣", "show --limit takes a whole number, not '٣'."),
        ("show --limit=+3", "show --limit takes a whole number, not '+3'."),
        ("show --limit 3", None),
        ("send t --file abc", None),
    ],
)
def test_a_word_where_a_number_belongs_is_told_with_its_option(line: str, told: str | None) -> None:
    problem = command_line.no_number(line.split(), COMMANDS)
    assert problem == (None if told is None else f"invoke: {told} ./invoke show --help shows what it takes.")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tasks --limit abc", "tasks --limit takes a whole number, not 'abc'"),
        ("tasks --limit 1_0", "tasks --limit takes a whole number, not '1_0'"),
        ("cost 1_00 --seconds 2", "cost --tasks-per-day takes a number, not '1_00'"),
        ("cost 100 --seconds x", "cost --seconds takes a number, not 'x'"),
    ],
)
def test_a_wrong_number_ends_a_command_without_a_traceback(line: str, told: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "invoke", *line.split()], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 2
    (said,) = ended.stderr.splitlines()
    assert said.startswith(f"invoke: {told}")
