"""Files and tools that are not as they should be: one message that names them, and nothing half done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from poolhouse import __main__ as program
from poolhouse.commands import upgrade
from poolhouse.commands.command_line import install
from poolhouse.commands.exit_code import exit_code
from poolhouse.commands.project import lock, new_project, new_task, project_files, wheels
from poolhouse.commands.project.checks import pytest_arguments
from poolhouse.commands.tasks import dlq
from poolhouse.commands.terminal import Terminal
from poolhouse.local import dotenv
from poolhouse.pipeline import kit
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK

LATIN_1 = "# Größe\n".encode("latin-1")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As `poolhouse new` leaves it, without the wheels and the lock files."""
    root = tmp_path / "shop"
    project_files.write(root, project_files.render(name="shop", version=kit.version()))
    return root


def broken(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pyproject.toml", b"[project\n"),
        ("pyproject.toml", LATIN_1),
        ("pipeline.toml", LATIN_1),
        ("Dockerfile", LATIN_1),
        (".poolhouse.json", b"<<<<<<< HEAD\n{}\n"),
        (".poolhouse.json", b"[]"),
        (".poolhouse.json", b'{"files": []}'),
    ],
)
def test_an_upgrade_that_can_not_read_a_file_changes_nothing(project: Path, name: str, content: bytes) -> None:
    broken(project / name, content)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}

    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        upgrade.run("99.0.0", root=project)

    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [b"[project\n", LATIN_1, None], ids=["no TOML", "Latin-1", "gone"])
def test_a_lock_names_the_file_that_it_can_not_read(project: Path, content: bytes | None) -> None:
    (project / "pyproject.toml").unlink()
    if content is not None:
        (project / "pyproject.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        lock.run(project)


def test_settings_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(LATIN_1)

    with pytest.raises(ConfigError, match=r"\.env: can't be read: it is not UTF-8"):
        dotenv.read(tmp_path / ".env")


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\n\n# c\nfoo bar\n", 4), ('\n\nA=1\nB="x\nC=2\n', 4), ("=5\n", 1), ("A='x\r\nB=1\r\n", 1)],
)
def test_a_setting_that_is_none_is_named_with_its_line(text: str, line: int, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(text.encode())

    with pytest.raises(ConfigError, match=rf"\.env:{line}: "):
        dotenv.read(tmp_path / ".env")


def test_settings_may_have_all_that_compose_takes(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfexport A=1\r\n# c\r\n\r\nEMPTY\nC=\"a\nb\" # c\nD='x y'\n\n")

    assert dotenv.read(tmp_path / ".env") == {"A": "1", "C": "a\nb", "D": "x y"}


def test_a_new_project_that_can_not_be_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConfigError("poolhouse is installed as an editable project")

    monkeypatch.setattr(wheels, "build", fail)

    with pytest.raises(ConfigError, match="editable"):
        new_project.create(tmp_path / "shop")

    assert not (tmp_path / "shop").exists()


def test_a_new_project_below_a_file_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")

    assert program.main(["new", str(tmp_path / "file" / "shop")]) != 0

    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"poolhouse: {tmp_path / 'file' / 'shop'}")
    assert line.endswith(": Not a directory")


def test_a_new_task_is_written_whole_without_ruff(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def without_ruff(command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", "raise SystemExit(1)"], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", without_ruff)

    _, written = new_task.write("resize_image", root=project)

    assert written[-1] == Path("README.md")
    assert "resize_image" in (project / "README.md").read_text()


def test_what_follows_two_dashes_is_handed_on_word_for_word() -> None:
    class Program(SimpleNamespace):
        def parse_tasks(self) -> None:
            pass

    program = Program(
        argv=["invoke", "test", "--", "-k", "a or it's"],
        core=SimpleNamespace(unparsed=[], remainder="-k a or it's"),
        collection=SimpleNamespace(task_names={}),
    )
    install(program)
    program.parse_tasks()
    assert pytest_arguments(program.core.remainder)[-2:] == ["-k", "a or it's"]


@pytest.mark.parametrize("editor", ['code "--wait', " "], ids=["open quote", "empty"])
def test_an_editor_that_is_no_command_is_said(editor: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match="set EDITOR"):
        dlq._in_editor("{}")


def test_an_end_of_input_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        def isatty(self) -> bool:
            return True

        def readline(self, *_: object) -> str:
            return ""

    monkeypatch.setattr(sys, "stdin", Ended())

    assert Terminal().confirm("Go on?", yes=False) is False


def test_a_path_through_a_file_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")

    assert exit_code(lambda: (tmp_path / "file" / "below").mkdir() or OK) == FAILED
    assert capsys.readouterr().err.strip() == f"Not a directory: {tmp_path / 'file' / 'below'}"


def test_the_manifest_of_a_new_project_can_be_read(project: Path) -> None:
    project_files.check(project)
    assert json.loads((project / project_files.MANIFEST).read_text())["files"]
