"""The kit's own wheels, and environments to install them in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from poolhouse.commands.project import uv, wheels

#: What says of this process's own stack and environment what a command elsewhere must not hear.
_OWN = ("POOLHOUSE_", "TASK_HANDLERS", "PIPELINE_", "PYTEST_", "PYTHON", "VIRTUAL_ENV", "PUBSUB_", "STORAGE_")


@dataclass(frozen=True)
class Kit:
    """Built wheels."""

    folder: Path
    poolhouse: Path
    emulator: Path


def run(
    *command: object, cwd: Path, code: int = 0, timeout_s: float = 300, environment: Mapping[str, str] = os.environ
) -> str:
    """Run a command as a shell elsewhere would, check its exit code, and return what it printed."""
    inherited = {name: value for name, value in environment.items() if not name.startswith(_OWN)}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == code, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """The wheels of this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    poolhouse, emulator = wheels.put(folder)
    return Kit(folder, poolhouse, emulator)


def fresh_environment(folder: Path, find_links: Path, *packages: object, python: str = sys.executable) -> Path:
    """Make a virtual environment with some packages; returns its `bin`."""
    run(*uv.command("venv", "--quiet", "--python", python, str(folder)), cwd=folder.parent)
    install = uv.command("pip", "install", "--quiet", "--python", str(folder), "--find-links", str(find_links))
    run(*install, *packages, cwd=folder.parent, environment=uv.environment())
    return folder / "bin"


@pytest.fixture
def environment(kit: Kit, tmp_path: Path) -> Callable[..., Path]:
    """Makes a fresh virtual environment with some packages; returns its `bin`."""
    return partial(fresh_environment, tmp_path / "venv", kit.folder)
