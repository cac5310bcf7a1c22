"""`./invoke` on machines that lack something. (That it makes an environment is for the CI run, from a bare clone.)"""

from __future__ import annotations

import runpy
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from poolhouse.project import ROOT

#: How Python is started: where the caller is, by nothing that the caller's environment says of Python.
START = "-I -X utf8 -m invoke --search-root"
TASKS = "--collection tasks"
TOOLS = ("sh", "dirname", "cksum", "cat")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The launcher in a project without an environment, and a PATH with nothing but the barest tools."""
    project = tmp_path / "project with a blank"
    (project / "local").mkdir(parents=True)
    shutil.copy(ROOT / "invoke", project)
    shutil.copy(ROOT / "local" / "bootstrap.py", project / "local")
    (project / "requirements-dev.lock").write_text("# nothing\n")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return project


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(clone: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (str(clone / "invoke"), *arguments),
        cwd=clone.parent,
        env={"PATH": str(clone.parent / "bin"), "HOME": str(clone.parent), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_a_python_it_says_which_one_it_needs(clone: Path) -> None:
    done = run(clone, "up")
    assert done.returncode == 2
    assert "Python 3.11 or newer" in done.stderr


def test_a_python_that_is_too_old_is_not_taken(clone: Path) -> None:
    program(clone.parent / "bin" / "python3", 'if [ "$1" = --version ]; then echo Python 3.9.2; else exit 1; fi')
    done = run(clone, "up")
    assert done.returncode == 2
    assert "Python 3.9.2" in done.stderr


def test_a_python_that_cannot_make_environments_is_reported_with_its_remedy(clone: Path) -> None:
    hide = (
        "import sys, importlib.util as u; f = u.find_spec; "
        "u.find_spec = lambda name, *more: None if name == 'ensurepip' else f(name, *more)"
    )
    run_file = "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    program(
        clone.parent / "bin" / "python3",
        f'[ "$2" = -c ] && exec {sys.executable} "$@"\nshift 3\nexec {sys.executable} -c "{hide}; {run_file}" "$@"',
    )
    done = run(clone, "up")
    assert done.returncode == 1
    assert "ensurepip" in done.stderr
    assert "venv" in done.stderr


def test_an_environment_that_fits_the_lock_is_used_as_it_is(clone: Path) -> None:
    lock = subprocess.run(
        ("cksum",), input=(clone / "requirements-dev.lock").read_bytes(), capture_output=True, check=True
    )
    program(clone / ".venv" / "bin" / "python", 'echo "$PWD|$@"')
    (clone / ".venv" / "poolhouse-stamp").write_bytes(lock.stdout)
    assert run(clone, "up", "--api-port", "1").stdout == f"{clone.parent}|{START} {clone} {TASKS} up --api-port 1\n"
    for alone in ((), ("--help",), ("-h",), ("help",)):
        assert run(clone, *alone).stdout.endswith(f"|{START} {clone} {TASKS} --list\n")
    assert run(clone, "--help", "up").stdout.endswith(f"|{START} {clone} {TASKS} --help up\n")


def test_an_environment_of_another_lock_is_made_anew(clone: Path) -> None:
    program(clone / ".venv" / "bin" / "python", "exit 1")
    (clone / ".venv" / "poolhouse-stamp").write_text("another\n")
    done = run(clone, "up")
    assert done.returncode == 2, "it looked for a Python to make it with"


@pytest.mark.parametrize(("variables", "compiled"), [({}, False), ({"PYTHONDONTWRITEBYTECODE": "1"}, True)])
def test_libraries_are_compiled_once_where_python_would_do_it_at_every_start(
    clone: Path, variables: dict[str, str], compiled: bool
) -> None:
    tools = clone.parent / "bin"
    program(tools / "python3", f'exec {sys.executable} "$@"')
    program(tools / "made-python", 'echo "$@"')
    program(
        tools / "uv",
        f'echo "$@" >>{clone.parent}/calls\n'
        f'if [ "$1" = venv ]; then {shutil.which("mkdir")} -p .venv/bin && '
        f"{shutil.which('cp')} {tools}/made-python .venv/bin/python; fi",
    )
    done = run(clone, "up", **variables)
    assert done.stdout == f"{START} {clone} {TASKS} up\n", done.stderr
    (install,) = (call for call in (clone.parent / "calls").read_text().splitlines() if call.startswith("pip sync"))
    assert "--require-hashes" in install
    assert ("--compile-bytecode" in install) == compiled


def _bootstrap(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What it defines, once it has run for an environment that needs no making."""
    monkeypatch.setattr("os.environ", variables)
    namespace = runpy.run_path(str(ROOT / "local" / "bootstrap.py"))
    namespace["main"].__globals__["_make"] = lambda wanted: 0
    assert namespace["main"]("1") == 0
    return namespace


def test_settings_of_pip_and_uv_say_where_packages_come_from_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {
        "PIP_CERT": "/ca.pem",
        "PIP_EXTRA_INDEX_URL": "https://index.example/simple",
        "PIP_ONLY_BINARY": ":all:",
        "UV_CACHE_DIR": "/cache",
        "UV_INDEX_OURS_PASSWORD": "x",
        "UV_PYTHON_INSTALL_MIRROR": "https://mirror.example",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    dropped = [
        *("PIP_BUILD_CONSTRAINT", "PIP_CONSTRAINT", "PIP_DRY_RUN", "PIP_NO_BINARY", "PIP_PREFIX", "PIP_PYTHON"),
        *("PIP_REQUIRE_VIRTUALENV", "PIP_REQUIREMENT", "PIP_ROOT", "PIP_TARGET", "PIP_USER", "PYTHONHOME"),
        *("UV_BUILD_CONSTRAINT", "UV_CONSTRAINT", "UV_EXCLUDE_NEWER", "UV_NO_BINARY", "UV_OVERRIDE", "UV_PYTHON"),
        *("UV_MANAGED_PYTHON", "UV_PYTHON_PREFERENCE", "UV_SYSTEM_PYTHON", "PYTHONPATH", "PYTHONPYCACHEPREFIX"),
    ]
    variables = {**kept, **dict.fromkeys(dropped, "x")}
    _bootstrap(variables, monkeypatch)
    assert variables == kept


def test_pip_installs_into_the_environment_whatever_a_pip_conf_says(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    namespace = _bootstrap({}, monkeypatch)
    namespace["_with_pip"].__globals__["_run"] = lambda *command: calls.append(command) or True
    assert namespace["_with_pip"]()
    (command,) = calls
    assert {"--require-hashes", "--no-user", "--target="} <= set(command)
