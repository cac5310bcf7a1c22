"""The state file: how one command finds the stack that another one started.

`.poolhouse/state.json` names the backend, the endpoints and, for processes of this machine, the supervisor: by its pid
and start time, since a pid alone may have gone to another process by now.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from poolhouse.local.backend import Endpoints
from poolhouse.local.processes.identity import ProcessId

STATE_FILE = "state.json"


@dataclass(frozen=True, kw_only=True)
class StackState:
    """What is written down about a stack."""

    backend: str
    endpoints: Endpoints
    #: Whether all of it is ready; False while it starts.
    ready: bool
    #: The process that the stack lives and dies with; None where a container engine keeps it.
    supervisor: ProcessId | None = None
    #: What the backend alone needs to know.
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stale(self) -> bool:
        """Whether the process that wrote this is gone: a crash, or a reboot."""
        return self.supervisor is not None and not self.supervisor.alive()


def read(state_dir: Path) -> StackState | None:
    """The state, stale or not; None if there is no file, or none that this version can read."""
    try:
        document = json.loads((state_dir / STATE_FILE).read_text(encoding="utf-8"))
        supervisor = document["supervisor"]
        return StackState(
            backend=document["backend"],
            endpoints=Endpoints(**document["endpoints"]),
            ready=document["ready"],
            supervisor=ProcessId(**supervisor) if supervisor else None,
            details=document["details"],
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_live(state_dir: Path) -> StackState | None:
    """The state of a stack that is up or starting."""
    state = read(state_dir)
    return None if state is None or state.stale else state


def write(state_dir: Path, state: StackState) -> None:
    """Replace the state, in one step: a reader sees the old one or the new one."""
    state_dir.mkdir(parents=True, exist_ok=True)
    temporary = state_dir / f"{STATE_FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    temporary.replace(state_dir / STATE_FILE)


def remove(state_dir: Path) -> None:
    """Forget the stack."""
    with contextlib.suppress(FileNotFoundError):
        (state_dir / STATE_FILE).unlink()
