"""What pages, messages and help texts name must exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from poolhouse.commands import collection, command_line
from poolhouse.project import ROOT
from poolhouse.testing.doubles import FakeContext
from poolhouse.worker import registry

PAGES = sorted(
    path for pattern in ("*.md", "docs/*.md", ".github/**/*.md", "examples/**/*.md") for path in ROOT.glob(pattern)
)
#: Files whose messages and comments name commands.
SOURCES = sorted(
    path
    for folder in ("poolhouse", "poolhouse_pubsub", "worker", "api", "local", "examples", ".github", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".md", ".txt", ".html", ".toml", ".yml"} or path.parent.name == ".ci"
)
#: A command with what follows it on its line, up to what ends a command in a shell, in code or in a sentence.
_COMMAND = re.compile(r"(?:\./|`)invoke (?P<name>[a-z][a-z0-9-]*)(?P<rest>[^`#;&|·)\n]*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")
#: Words that follow the launcher's name in a sentence, and `help COMMAND`.
_NO_COMMANDS = frozenset({"is", "makes", "installs", "help"})


@cache
def options_of(name: str) -> frozenset[str]:
    core = {"--list", "--help", "--search-root", "--print-completion-script"}
    context = command_line._command(collection(of_the_kit=True), name)
    return frozenset(context.flags) | frozenset(context.inverse_flags) | core


def unknown_commands(text: str) -> list[str]:
    """Return the commands and options in a text that do not exist."""
    wrong = []
    for found in _COMMAND.finditer(text):
        name, words = found["name"], found["rest"].partition(" -- ")[0]
        words = re.split(r"""["'](?=[\s,)]|$)|[,:] """, words)[0]
        if name in _NO_COMMANDS:
            continue
        if name not in collection(of_the_kit=True).task_names:
            wrong.append(found[0])
        else:
            wrong += [f"{name} {option}" for option in _OPTION.findall(words) if option not in options_of(name)]
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    assert unknown_commands(page.read_text(encoding="utf-8")) == []


def test_every_command_that_a_message_names_exists_with_its_options() -> None:
    assert len(SOURCES) > 300
    wrong = {str(path.relative_to(ROOT)): unknown_commands(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: commands for path, commands in wrong.items() if commands} == {}


def test_a_command_or_option_that_does_not_exist_is_seen() -> None:
    text = "run `./invoke upp`, then `./invoke up --relaod` and `./invoke logs --follow`"
    assert unknown_commands(text) == ["./invoke upp", "up --relaod"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = _LINK.finditer(re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8")))
    assert [link[0] for link in links if not (page.parent / link["path"]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:poolhouse|poolhouse_pubsub|tests/kit|docs|\.github|\.ci)/[\w./-]+)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_first_task_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "readme_greet.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    handler = registry.load(["readme_greet"])["greet"]
    assert handler.function(handler.parse({"name": "Ada"}), FakeContext()) == {"greeting": "Hello, Ada!"}
    with pytest.raises(ValueError, match="name"):
        handler.parse({"name": 1})
    sys.modules.pop("readme_greet")


def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    loaded = (
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*rel=\"?(?:stylesheet|preconnect|preload)[^>]*//"
    )
    for page in pages:
        assert re.search(loaded, page.read_text(encoding="utf-8")) is None, page.name
