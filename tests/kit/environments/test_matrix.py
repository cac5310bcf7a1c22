"""The first commands of the README in every environment that a developer may have."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.kit.environments import checkout
from tests.kit.environments.cases import CASES, Case, mounted
from tests.kit.environments.checkout import UP_E2E_DOWN, Checkout
from tests.kit.environments.conftest import lacking


@pytest.mark.parametrize("case", CASES, ids=str)
def test_up_e2e_and_down(case: Case, plain: Checkout) -> None:
    require(*case.needs)
    shell = plain.having(case.variables, without=case.without, wrap=case.wrap)
    _works(shell, first=case.first)


def test_in_a_folder_with_blanks_umlauts_and_quotes(odd: Checkout) -> None:
    _works(odd)


def test_the_other_commands_in_such_a_folder(odd: Checkout) -> None:
    done = odd.run(
        "./invoke test -- tests/kit/unit/pipeline/test_message.py -q -n 0\n"
        "./invoke new-task odd_task\n"
        "./invoke test -- tests/unit/handlers/test_odd_task.py -q -n 0\n"
        "./invoke check\n"
        "./invoke bench\n",
        timeout_s=600,
    )
    assert done.code == 0, done.output


def test_an_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    require("root", "mounts", "setpriv")
    shell = checkout.make(tmp_path_factory.mktemp("user") / "poolhouse")
    for path in (shell.root.parent, *shell.root.parent.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    _works(shell.having({}, wrap=_as_nobody(shell)))


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_another_python(version: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    python = _python(version)
    if python is None:
        lacking(f"Python {version}")
    assert python is not None
    shell = checkout.make(tmp_path_factory.mktemp(f"python{version}") / "poolhouse", environment=None)
    tools = shell.root.with_name("bin")
    tools.mkdir()
    (tools / "python3").symlink_to(python)
    # The first command makes the environment: from the lock file, as for anybody.
    home = os.environ.get("HOME", "")
    indexes = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_")) or "CERT" in name}
    made = shell.having({"PATH": f"{tools}:{shell.variables['PATH']}", "HOME": home, **indexes}).run(
        "./invoke --list >/dev/null; .venv/bin/python -V", timeout_s=600
    )
    assert made.code == 0, made.output
    assert f"Python {version}" in made.output
    _works(shell)


def _works(shell: Checkout, *, first: str = "") -> None:
    done = shell.run(f"{first}\n{UP_E2E_DOWN}")
    assert done.code == 0, done.output
    for sign in ("ready in", "all as expected", "export PUBSUB_EMULATOR_HOST=127.0.0.1:", "stopped"):
        assert sign in done.output
    for trouble in ("Traceback", "rror:", "WARNING", "Warning:"):
        assert trouble not in done.output, done.output


def _as_nobody(shell: Checkout) -> tuple[str, ...]:
    """Return the wrap of a shell of user 65534, to whom this machine's Python is not hidden below /root."""
    folders = {Path(folder).resolve() for folder in (shell.root / ".venv", *_bases(shell.root / ".venv"))}
    shown = "\n".join(
        f"mkdir -p '/tmp/kept{folder}'; mount --bind '{folder}' '/tmp/kept{folder}'" for folder in folders
    )
    back = "\n".join(f"mkdir -p '{folder}'; mount --bind '/tmp/kept{folder}' '{folder}'" for folder in folders)
    hidden = {part for folder in folders for part in folder.parents if not part.stat().st_mode & 0o001}
    covers = "\n".join(f"mount -t tmpfs -o mode=755 tmpfs '{folder}'" for folder in hidden if str(folder) != "/")
    open_up = "\n".join(f"chmod 755 '{folder}'" for folder in ())
    commands = f"mount -t tmpfs tmpfs /mnt\n{shown}\n{covers}\n{back}\n{open_up}".replace("/tmp/kept", "/mnt/kept")
    return (*mounted(commands), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def _bases(environment: Path) -> list[Path]:
    """Return where the Python of a virtual environment is installed."""
    python = (environment / "bin" / "python").resolve()
    return [python.parent.parent]


def require(*needs: str) -> None:
    for need in needs:
        if need == "root":
            if os.geteuid() != 0:
                lacking("root")
        elif need == "mounts":
            if not _mounts():
                lacking("mount namespaces")
        elif not (Path(need).exists() if need.startswith("/") else shutil.which(need)):
            lacking(need)


@cache
def _mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    command = (*mounted("mount -t tmpfs tmpfs /mnt"), "true")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _python(version: str) -> str | None:
    """Return a Python of that version: on the PATH, or one of pyenv's."""
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python3"))
    return str(found[-1]) if found else shutil.which(f"python{version}")
