"""The first commands of the README in every environment that a developer may have."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
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
    trouble = _trouble(plain, case)
    guilty = {part.name: found for part in case.parts if trouble for found in [_trouble(plain, part)] if found}
    assert not trouble, guilty or trouble


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


def test_the_fixtures_of_tests_run_by_pytest_itself(plain: Checkout) -> None:
    names = {"TZ", "http_proxy", "HTTP_PROXY", "grpc_proxy", "LOG_LEVEL", "GOOGLE_CLOUD_PROJECT"}
    found = {name: value for case in CASES for name, value in case.variables.items() if name in names}
    assert found.keys() == names
    done = plain.having({**found, "TZ": "Asia/Kathmandu"}).run(
        "cd tests/kit/integration/local; ../../../../.venv/bin/python -m pytest -q test_pytest_plugin.py test_setup.py"
    )
    assert done.code == 0, done.output


def test_an_ordinary_user() -> None:
    require("root", "mounts", "setpriv")
    # Not below pytest's own folder, which is root's alone.
    with tempfile.TemporaryDirectory(prefix="poolhouse-user-") as folder:
        shell = checkout.make(Path(folder) / "poolhouse")
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        _works(shell.having({}, wrap=_as_nobody(shell)))


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_another_python(version: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    python = _python(version)
    if python is None:
        lacking(f"Python {version}")
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


def _trouble(plain: Checkout, case: Case) -> str:
    """What goes wrong in an environment; empty: nothing."""
    try:
        _works(plain.having(case.variables, without=case.without, wrap=case.wrap), first=case.first)
    except AssertionError as error:
        return str(error) or repr(error)
    return ""


def _works(shell: Checkout, *, first: str = "") -> None:
    done = shell.run(f"{first}\n{UP_E2E_DOWN}")
    assert done.code == 0, done.output
    for sign in ("ready in", "all as expected", "export PUBSUB_EMULATOR_HOST=127.0.0.1:", "stopped"):
        assert sign in done.output
    for trouble in ("Traceback", "rror:", "WARNING", "Warning:"):
        assert trouble not in done.output, done.output


def _as_nobody(shell: Checkout) -> tuple[str, ...]:
    """Return the wrap of a shell of user 65534, to whom this machine's Python is shown where /root is closed."""
    environment = (shell.root / ".venv").resolve()
    needed = [environment, (environment / "bin" / "python").resolve().parent.parent]
    closed = {parent for folder in needed for parent in folder.parents if not parent.stat().st_mode & 0o001}
    commands = ["mount -t tmpfs -o mode=755 tmpfs /mnt"]
    for number, folder in enumerate(needed):
        commands.append(f"mkdir /mnt/{number}; mount --bind '{folder}' /mnt/{number}")
    commands += [f"mount -t tmpfs -o mode=755 tmpfs '{folder}'" for folder in sorted(closed)]
    for number, folder in enumerate(needed):
        commands.append(f"mkdir -p '{folder}'; mount --bind /mnt/{number} '{folder}'")
    return (*mounted("\n".join(commands)), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


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
