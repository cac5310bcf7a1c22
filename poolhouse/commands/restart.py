"""How a stack that is up gets new code: at once, or by a restart."""

from __future__ import annotations

import re
from pathlib import Path

from poolhouse.local import state
from poolhouse.local.backend import default_state_dir
from poolhouse.project import ROOT

HANDLERS = Path("worker") / "handlers"


def command(state_dir: Path | None = None) -> str:
    """Return what to run so that the stack has the code that is on disk, and what is saved from then on.

    Returns:
        Nothing where the stack that is up reloads by itself.
    """
    found = state.read_live(state_dir or default_state_dir())
    if found is None:
        return "./invoke up --reload"
    return "" if found.details.get("reload") else "./invoke down && ./invoke up --reload"


def unknown_type(task_type: str, *, root: Path = ROOT, state_dir: Path | None = None) -> str:
    """Return what to do where the stack does not know a task type that is on disk; empty where it is not on disk."""
    file = _declared_in(task_type, root)
    if file is None:
        return ""
    restart = command(state_dir)
    if not restart:
        return f"{file} declares it, but the stack has not loaded it: ./invoke status shows why"
    return f"{file} declares it, and the stack is older than that: {restart}"


def _declared_in(task_type: str, root: Path) -> Path | None:
    declaration = re.compile(rf"""@task\(\s*(name\s*=\s*)?["']{re.escape(task_type)}["']""")
    for path in sorted((root / HANDLERS).rglob("*.py")):
        if declaration.search(path.read_text(encoding="utf-8", errors="replace")):
            return path.relative_to(root)
    return None
