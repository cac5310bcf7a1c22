"""The environment variables with which other programs use a stack."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from poolhouse.local import backends
from poolhouse.local.backend import Endpoints, default_state_dir, traces_dir
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK

#: How `invoke env` writes variables.
_FORMS: dict[str, Callable[[dict[str, str]], str]] = {
    "shell": lambda found: "".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items()),
    "dotenv": lambda found: "".join(f"{name}={value}\n" for name, value in found.items()),
    "json": lambda found: json.dumps(found, indent=2) + "\n",
}


def show_environment(form: str = "shell", *, state_dir: Path | None = None) -> int:
    """Print the environment variables with which other programs use the running stack.

    Args:
        form: `shell` for eval, `dotenv` for a file, `json`.
        state_dir: where the stack is found.
    """
    if form not in _FORMS:
        raise ConfigError(f"--format {form!r}: one of {', '.join(_FORMS)}")
    state_dir = state_dir or default_state_dir()
    backend = backends.current(state_dir)
    endpoints, traces = backend.endpoints(), traces_dir(state_dir, backend.name)
    found = {**endpoints.environment(), **_addresses(endpoints), "TRACES_DIR": str(traces)}
    sys.stdout.write(_FORMS[form](found))
    return OK


def _addresses(endpoints: Endpoints) -> dict[str, str]:
    console = {"POOLHOUSE_CONSOLE_URL": endpoints.console_url} if endpoints.console_url else {}
    return {"POOLHOUSE_API_URL": endpoints.api_url, **console}
