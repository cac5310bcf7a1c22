"""Which backend: the only module that knows which there are."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poolhouse.local import state
from poolhouse.local.backend import Backend
from poolhouse.local.errors import NoStack, StackError
from poolhouse.local.state import StackState
from poolhouse.pipeline.errors import ConfigError

#: Backends by their word for `--backend`, as `module:function`; the function takes the state directory. Imported only
#: when chosen: a stack of processes needs no container client.
BACKENDS = {
    "embedded": "poolhouse.local.embedded.backend:Embedded",
    "compose": "poolhouse.local.compose.backend:Compose",
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A backend, and why it was taken, in a few words for people."""

    backend: Backend
    reason: str


def choose(name: str | None, *, state_dir: Path) -> Choice:
    """The backend for a new stack.

    Args:
        name: its word; None: containers where an engine answers and has, or can pull, the images; else processes.

    Raises:
        ConfigError: there is no such backend.
    """
    if name is not None:
        return Choice(backend=_load(name, state_dir), reason="as asked")
    from poolhouse.local.compose import backend as compose  # noqa: PLC0415 - asked for by name, a stack of processes needs none of it

    try:
        return Choice(backend=_load("compose", state_dir), reason=compose.usable())
    except StackError as error:
        return Choice(backend=_load("embedded", state_dir), reason=f"no containers: {error}")


def current(state_dir: Path) -> Backend:
    """The backend of the stack that is up or starting. Raises `NoStack`."""
    return _load(live(state_dir).backend, state_dir)


def live(state_dir: Path) -> StackState:
    """The stack that is up or starting. Raises `NoStack`."""
    found = look(state_dir)
    if found is None:
        raise NoStack
    return found


def look(state_dir: Path) -> StackState | None:
    """The stack that is up or starting: as it was written down, or as `docker compose up` started it."""
    if state.read(state_dir) is not None:
        return state.read_live(state_dir)
    from poolhouse.local.compose import project  # noqa: PLC0415 - only where nothing was written down

    return project.unrecorded(state_dir)


def last(state_dir: Path) -> Backend:
    """The backend of the stack that is up, or was: for its logs."""
    found = state.read(state_dir) or look(state_dir)
    return _load(found.backend if found is not None else "embedded", state_dir)


def every(state_dir: Path) -> tuple[Backend, ...]:
    """All backends, that of the stack that is up first."""
    first = last(state_dir)
    return (first, *(_load(name, state_dir) for name in BACKENDS if name != first.name))


def _load(name: str, state_dir: Path) -> Backend:
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend {name!r} (backends: {', '.join(BACKENDS)})")
    make: Callable[[Path], Backend] = pkgutil.resolve_name(BACKENDS[name])
    return make(state_dir)
