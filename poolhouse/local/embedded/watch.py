"""Which files `up --reload` watches, and which services a saved file concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

import watchfiles

from poolhouse.project import ROOT

#: The API imports the payload models of the handlers, so what concerns workers concerns it too, but not the reverse.
BOTH = frozenset({"api", "worker"})
#: The project's own folders, and the services that each concerns; the kit's, where the project is its repository.
OWN = {
    "api": frozenset({"api"}),
    "worker": BOTH,
    "poolhouse/api": frozenset({"api"}),
    "poolhouse/pipeline": BOTH,
    "poolhouse/worker": BOTH,
}
#: Stands among services for the declaration of queues and schedules, which concerns them all.
DECLARATION = "declaration"
#: Quiet time after a change before it counts, in milliseconds: an editor saves in several steps.
_SETTLE_MS = 50
_PYTHON = frozenset(watchfiles.PythonFilter().extensions)
#: Longest wait for that quiet, in milliseconds.
_LONGEST_SETTLE_MS = 400


@dataclass(frozen=True, kw_only=True)
class Scope:
    """A folder, and the services that run the Python files in it, or read one file in it."""

    folder: Path
    services: frozenset[str]
    #: Whether folders inside it count.
    deep: bool = True
    #: The one file that counts; None: all Python files.
    file: str | None = None

    def holds(self, path: Path) -> bool:
        """Whether a file belongs to it."""
        if self.file is not None:
            return path == self.folder / self.file
        if path.suffix not in _PYTHON:
            return False
        return path.is_relative_to(self.folder) if self.deep else path.parent == self.folder


def scopes(
    handlers: Iterable[str], *, search_path: Sequence[str], declaration: Path | None = None
) -> tuple[Scope, ...]:
    """What to watch: the program's own folders, those of the handlers, and the declaration.

    Args:
        handlers: modules, as TASK_HANDLERS has them; one that is not found is left out: the worker complains of it.
        search_path: where the workers look for modules.
        declaration: the pipeline.toml.
    """
    found = [Scope(folder=ROOT / name, services=services) for name, services in OWN.items() if (ROOT / name).is_dir()]
    for module in handlers:
        scope = _scope_of(module, search_path)
        if scope is not None and not any(other.holds(scope.folder / "any.py") for other in found):
            found.append(scope)
    if declaration is not None:
        declaration = declaration.resolve()
        services = BOTH | {DECLARATION}
        found.append(Scope(folder=declaration.parent, services=services, deep=False, file=declaration.name))
    return tuple(found)


def concerned(paths: Iterable[Path], watched: Sequence[Scope]) -> frozenset[str]:
    """The services that run any of the files."""
    return frozenset().union(*(scope.services for path in paths for scope in watched if scope.holds(path)))


async def watch(
    watched: Sequence[Scope], on_change: Callable[[frozenset[str]], Awaitable[None]], *, polling: bool = False
) -> None:
    """Report saved, new and deleted files that count; run until cancelled.

    Args:
        watched: from `scopes`.
        on_change: takes the services concerned; what is saved while it runs is reported afterwards, in one call.
        polling: look at all files several times a second, where the system watches no more.

    Raises:
        OSError: the system does not let a folder be watched.
    """
    names = [scope.file for scope in watched if scope.file is not None]

    async def follow(folders: list[Path], *, deep: bool) -> None:
        async for changes in watchfiles.awatch(
            *folders,
            watch_filter=watchfiles.PythonFilter(extra_extensions=names),
            recursive=deep,
            step=_SETTLE_MS,
            debounce=_LONGEST_SETTLE_MS,
            force_polling=polling or None,
        ):
            services = concerned((Path(path) for _, path in changes), watched)
            if services:
                await on_change(services)

    async with asyncio.TaskGroup() as tasks:
        for deep in (True, False):
            folders = list({scope.folder for scope in watched if scope.deep is deep})
            if folders:
                tasks.create_task(follow(folders, deep=deep))


def _scope_of(module: str, search_path: Sequence[str]) -> Scope | None:
    # Looked up by hand, since importlib.util.find_spec runs the packages above the module.
    where: Sequence[str] = search_path
    origin: str | None = None
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        spec = PathFinder.find_spec(".".join(names[:depth]), where)
        if spec is None:
            return None
        where, origin = list(spec.submodule_search_locations or ()), spec.origin
    if where:
        return Scope(folder=Path(where[0]).resolve(), services=BOTH)
    if origin is None:
        return None
    # A module that is a file may use its neighbours. Beside one that is in no package may be anything, a virtual
    # environment for example: only the folder itself is watched.
    return Scope(folder=Path(origin).resolve().parent, services=BOTH, deep=len(names) > 1)
