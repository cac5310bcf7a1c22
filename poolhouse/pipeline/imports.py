"""Importing the modules that a declaration names: what fails in them is reported with file and line."""

from __future__ import annotations

import importlib
import os
import sysconfig
import traceback
from types import ModuleType

from pydantic import ValidationError

from poolhouse.pipeline.errors import ConfigError

#: What decorators and factories of the kit raise is the fault of the line that uses them.
_KIT = os.path.dirname(os.path.dirname(__file__)) + os.sep
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def import_module(name: str, *, named_by: str) -> ModuleType:
    """Import a module.

    Args:
        name: its full name.
        named_by: where it is named, for the error: `e2e in pipeline.toml`.

    Raises:
        ConfigError: it can't be imported, whatever it raises; with the place in the user's code.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does while it is imported
        raise ConfigError(f"{named_by}: {name} can't be imported: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return the error, and the place in the user's code that it comes from: `FILE:LINE: TYPE: MESSAGE`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", _KIT)) and frame.filename != importlib.__file__
    ]
    own = [frame for frame in frames if not frame.filename.startswith(_LIBRARIES)]
    places = own or frames
    return f"{places[-1].filename}:{places[-1].lineno}: {_what(error)}" if places else _what(error)


def _what(error: BaseException) -> str:
    match error:
        case ConfigError():
            return str(error)
        case ValidationError():  # such as Limit(rate="often"): in one line, without pydantic's URL
            found = error.errors(include_url=False, include_context=False, include_input=False)
            return f"{error.title}: {'; '.join(_problem(each['loc'], each['msg']) for each in found)}"
        case _:
            return f"{type(error).__name__}: {error}"


def _problem(loc: tuple[int | str, ...], message: str) -> str:
    return ": ".join(filter(None, (".".join(map(str, loc)), message.removeprefix("Value error, "))))
