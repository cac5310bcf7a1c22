"""Mutation tests: which modules there are, and that only a copy of the repository is changed."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from poolhouse.commands.project import mutants
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

RESULTS = """\
    shop.x_price__mutmut_1: killed
    shop.x_price__mutmut_2: survived
    shop.x_price__mutmut_3: timeout
    shop.x_tax__mutmut_1: no tests
    shop.x_tax__mutmut_2: not checked
"""


@pytest.mark.parametrize("module", tomllib.loads((ROOT / mutants.MODULES).read_text(encoding="utf-8")).values())
def test_every_module_has_files_and_tests(module: dict[str, list[str]]) -> None:
    table = tomllib.loads(mutants.configuration(**module, files=["tests"]))["tool"]["mutmut"]
    assert all(list(ROOT.glob(pattern)) for pattern in table["only_mutate"])
    tests = [word for word in table["pytest_add_cli_args_test_selection"] if not word.startswith("-")]
    assert tests
    assert all((ROOT / path).exists() for path in tests)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository with one module; two of its files are not committed, one is ignored."""
    files = {
        mutants.MODULES: '[prices]\nsource = ["shop.py"]\ntests = ["tests/test_shop.py"]\n',
        "shop.py": "def price() -> int:\n    return 1\n",
        "tests/test_shop.py": "",
        "pyproject.toml": "[project]\n",
        ".gitignore": ".env\n",
        ".env": "SECRET=1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "shop.py"], cwd=tmp_path, check=True)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The calls of mutmut, of which none is made, after each the files that it would have seen."""
    made: list[list[str]] = []
    really = subprocess.run

    def run(words: Sequence[str], *, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        if "mutmut" not in words:
            return really(words, cwd=cwd, **options)
        arguments = list(words)[list(words).index("mutmut") + 1 :]
        made.append([*arguments, *sorted(path.name for path in cwd.iterdir())])
        text = f"# {arguments[-1]}\n-return 1\n+return 2\n" if arguments[0] == "show" else RESULTS
        return subprocess.CompletedProcess(list(words), 1 if "broken" in arguments else 0, stdout=text)

    monkeypatch.setattr(subprocess, "run", run)
    return made


def test_a_copy_is_changed_and_what_no_test_noticed_is_shown_with_the_score(
    shop: Path, calls: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (shop / "pyproject.toml").read_text()
    assert mutants.run("prices", "'shop.x_price*'", root=shop) == 0
    assert calls[0] == [
        "run",
        "--max-children",
        "1",
        "shop.x_price*",
        ".gitignore",
        "pyproject.toml",
        "shop.py",
        "tests",
    ]
    assert (shop / "pyproject.toml").read_text() == before
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("# ")] == [
        "# shop.x_price__mutmut_2",
        "# shop.x_tax__mutmut_1",
    ]
    assert "+return 2" in shown
    assert shown.splitlines()[-1] == "2 of 4 mutants noticed (50%)"


def test_a_run_that_fails_ends_with_the_code_of_mutmut(shop: Path, calls: list[list[str]]) -> None:
    assert mutants.run("prices", "broken", root=shop) == 1
    assert len(calls) == 1


def test_modules_are_listed_and_an_unknown_one_is_refused(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.run("", root=shop) == 0
    assert capsys.readouterr().out.split() == ["prices", "shop.py"]
    with pytest.raises(ConfigError, match=r"'price' \(there are: prices\)"):
        mutants.run("price", root=shop)
