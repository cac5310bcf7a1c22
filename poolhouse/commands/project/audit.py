"""`invoke audit`: known vulnerabilities of the locked packages. It asks the package index, so it needs a network."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from poolhouse.commands.project import uv
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

#: PyPA's auditor of locked requirements. uv runs it in an environment of its own: nothing of it is in the project's.
TOOL = "pip-audit==2.10.1"
#: Its own dependencies as they were on this day: no version that was published later is run.
AS_OF = "2026-11-01T00:00:00Z"


def run(remainder: str = "", *, root: Path = ROOT) -> int:
    """Audit every lock file of a project; `remainder` goes to pip-audit. Return its exit code: 1 for a finding.

    Raises:
        ConfigError: there is no lock file.
    """
    return subprocess.run(command(root, shlex.split(remainder)), cwd=root, env=uv.environment(), check=False).returncode


def command(root: Path, more: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command line. Packages are looked up as they are locked; none is downloaded or resolved anew."""
    locks = sorted(path.name for path in root.glob("*.lock") if path.name.startswith("requirements"))
    if not locks:
        raise ConfigError(f"{root} has no requirements.lock: ./invoke lock writes it")
    return uv.command(
        *("tool", "run", "--quiet", "--isolated", "--exclude-newer", AS_OF, "--from", TOOL, "pip-audit"),
        *("--require-hashes", "--disable-pip", "--progress-spinner", "off"),
        *(word for name in locks for word in ("--requirement", name)),
        *more,
    )
