"""A copy of this checkout, and how its commands are run in an environment of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from poolhouse.project import ROOT

#: Longest time of one script, in seconds: several times what it takes on a busy machine.
TIMEOUT_S = 180
#: What a person does first, and last; a failure on the way does not leave a stack behind.
UP_E2E_DOWN = """
trap './invoke down' EXIT
./invoke up --backend embedded --timeout 90
./invoke status
./invoke e2e --quick
./invoke env
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A script that has ended."""

    code: int
    output: str


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A checkout, and the environment that a shell in it has."""

    root: Path
    variables: Mapping[str, str]
    #: What the shell is started with: `unshare`, `setpriv` and their like.
    wrap: tuple[str, ...] = ()

    def having(
        self, variables: Mapping[str, str], *, without: Sequence[str] = (), wrap: Sequence[str] = ()
    ) -> Checkout:
        """Return the same checkout in another environment."""
        kept = {name: value for name, value in self.variables.items() if name not in without}
        return replace(self, variables={**kept, **variables}, wrap=(*self.wrap, *wrap))

    def run(self, script: str, *, timeout_s: float = TIMEOUT_S) -> Done:
        """Run a shell script in the checkout; its first failure ends it."""
        done = subprocess.run(
            (*self.wrap, "/bin/sh", "-eu", "-c", script),
            cwd=self.root,
            env=dict(self.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        return Done(code=done.returncode, output=done.stdout.decode(errors="replace"))

    def state(self) -> dict[str, Any]:
        """Return the state file of the stack that is up."""
        found: dict[str, Any] = json.loads((self.root / ".poolhouse" / "state.json").read_text(encoding="utf-8"))
        return found

    def processes(self) -> list[psutil.Process]:
        """Return the processes that run in the checkout."""
        return [process for process in psutil.process_iter() if _folder(process) == self.root]


def make(root: Path, *, environment: Path | None = ROOT / ".venv") -> Checkout:
    """Copy this checkout.

    Args:
        root: where to; made.
        environment: the `.venv` it shares; None: it makes one of its own.
    """
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source, target = ROOT / name, root / name
        if source.is_file():  # one that was deleted is listed too
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    if environment is not None:
        (root / ".venv").symlink_to(environment)
    home = root.with_name(f"home of {root.name}")
    home.mkdir()
    # Nothing of the environment that runs the tests but what any shell has.
    variables = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return Checkout(root=root.resolve(), variables=variables)


def _folder(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except (psutil.Error, OSError):
        return None
