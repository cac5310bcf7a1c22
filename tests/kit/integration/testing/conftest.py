"""An interpreter that has the kit installed, for tests of other projects."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from poolhouse.project import ROOT


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the kit of this checkout installed, its pytest plugin included."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "kit.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    info = packages / "poolhouse-0.dist-info"
    info.mkdir()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    (info / "entry_points.txt").write_text(f"[pytest11]\npoolhouse = {declared['poolhouse']}\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: poolhouse\nVersion: 0\n")
    return folder / "bin" / "python"


def run(python: Path, project: Path, *arguments: object) -> tuple[int, str]:
    """Run a module in a project, in no environment but the project's; return the exit code and what it printed."""
    ended = subprocess.run(
        [python, "-m", *map(str, arguments)],
        cwd=project,
        env={"PATH": sys.exec_prefix, "HOME": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return ended.returncode, ended.stdout
