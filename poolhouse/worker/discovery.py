"""Importing the modules that hold handlers: packages to any depth, and errors with file and line."""

from __future__ import annotations

import importlib
import os
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from poolhouse.pipeline.errors import ConfigError

#: Files that are commands and never imported.
_COMMANDS = {"__main__", "__init__"}
#: The folders of what handlers' decorators are made of: the line that is wrong is the one that uses them.
_KIT = {os.path.dirname(__file__), os.path.join(os.path.dirname(os.path.dirname(__file__)), "pipeline")}
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def import_all(names: Iterable[str]) -> Iterator[ModuleType]:
    """Import the modules and, of packages, everything below them, folders without an `__init__.py` included.

    Raises:
        ConfigError: one can't be imported; names the file and line that failed.
    """
    for name in names:
        module = _imported(name)
        yield module
        for folder in dict.fromkeys(getattr(module, "__path__", ())):
            for below in _below(Path(folder), name):
                yield _imported(below)


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


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does while it is imported
        raise ConfigError(f"TASK_HANDLERS: {name} can't be imported: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """The error, and the place in the user's code that it comes from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and os.path.dirname(frame.filename) not in _KIT
    ]
    frames = [f for f in frames if importlib.__file__ != f.filename]
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    what = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    places = own or frames
    return f"{places[-1].filename}:{places[-1].lineno}: {what}" if places else what
