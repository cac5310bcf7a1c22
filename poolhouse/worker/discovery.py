"""Importing the modules that hold handlers: packages to any depth, and errors with file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from poolhouse.pipeline.imports import import_module

#: Files that are commands and never imported.
_COMMANDS = {"__main__", "__init__"}
_NAMED_BY = "handlers in pipeline.toml, or TASK_HANDLERS"


def import_all(names: Iterable[str]) -> Iterator[ModuleType]:
    """Import the modules and, of packages, everything below them, folders without an `__init__.py` included.

    Raises:
        ConfigError: one can't be imported; names the file and line that failed.
    """
    for name in names:
        module = import_module(name, named_by=_NAMED_BY)
        yield module
        for folder in dict.fromkeys(getattr(module, "__path__", ())):
            for below in _below(Path(folder), name):
                yield import_module(below, named_by=_NAMED_BY)


def _below(folder: Path, package: str) -> Iterator[str]:
    if not folder.is_dir():  # such as a package in a zip file
        return
    for path in sorted(folder.iterdir()):
        name = f"{package}.{path.stem}"
        if not path.stem.isidentifier() or path.stem in _COMMANDS:
            continue
        if path.suffix == ".py":
            yield name
        elif path.is_dir() and path.name != "__pycache__" and any(path.rglob("*.py")):
            yield name
            yield from _below(path, name)
