"""The state file: how one command finds the stack that another one started.

`.poolhouse/state.json` names the backend, the endpoints and, for processes of this machine, the supervisor: by its pid
and start time, since a pid alone may have gone to another process by now.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from poolhouse.local.backend import Endpoints
from poolhouse.local.errors import StackError
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
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    except OSError as error:
        raise StackError(_refusal(state_dir, error)) from None


def read_live(state_dir: Path) -> StackState | None:
    """The state of a stack that is up or starting."""
    state = read(state_dir)
    return None if state is None or state.stale else state


def prepare(state_dir: Path) -> None:
    """Make the folder for the state and check that this user may write in it. Raises `StackError`."""
    try:
        (state_dir / "logs").mkdir(parents=True, exist_ok=True)
        for folder in (state_dir, state_dir / "logs"):
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"?")
        for file in (*state_dir.glob("supervisor.lock"), *state_dir.glob("logs/*.log")):
            if not os.access(file, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    except OSError as error:
        raise StackError(_refusal(state_dir, error)) from None


def _refusal(state_dir: Path, error: OSError) -> str:
    where = error.filename if isinstance(error.filename, str) else str(state_dir)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"no room left on the disk of {state_dir}: make some, or set POOLHOUSE_STATE_DIR to a folder elsewhere"
    owner = ""
    with contextlib.suppress(OSError, KeyError):
        uid = os.stat(where if os.path.exists(where) else state_dir).st_uid
        owner = f" (it belongs to {pwd.getpwuid(uid).pw_name})" if uid != os.getuid() else ""
    return (
        f"the stack keeps its state in {state_dir}, and {where} can't be used: {error.strerror}{owner}. Set "
        "POOLHOUSE_STATE_DIR to a folder of your own, or remove what another user left there"
    )


def write(state_dir: Path, state: StackState) -> None:
    """Replace the state, in one step: a reader sees the old one or the new one. Raises `StackError`."""
    temporary = state_dir / f"{STATE_FILE}.{os.getpid()}"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        temporary.replace(state_dir / STATE_FILE)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StackError(_refusal(state_dir, error)) from None


def remove(state_dir: Path) -> None:
    """Forget the stack."""
    with contextlib.suppress(FileNotFoundError):
        (state_dir / STATE_FILE).unlink()
