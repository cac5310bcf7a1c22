"""The application that pipeline.toml names under `api`."""

from __future__ import annotations

import importlib
import traceback

from fastapi import FastAPI

from poolhouse.api.events import TaskEvents
from poolhouse.pipeline.errors import ConfigError


def load(name: str) -> FastAPI:
    """Import and call the function that makes the application.

    Args:
        name: `module:function`, as pipeline.toml has it.

    Raises:
        ConfigError: the module can't be imported, has no such function, or the function fails or returns something else
            than the application of `create_app()`.
    """
    module, _, attribute = name.partition(":")
    where = f"api = {name!r} in pipeline.toml"
    try:
        make = getattr(importlib.import_module(module), attribute, None)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {module} can't be imported: {_told(error)}") from error
    if not callable(make):
        raise ConfigError(f"{where}: {module} has no function {attribute}")
    try:
        app = make()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {attribute}() failed: {_told(error)}") from error
    if not isinstance(app, FastAPI) or not isinstance(getattr(app.state, "events", None), TaskEvents):
        raise ConfigError(
            f"{where}: {attribute}() must return the application that "
            "poolhouse.api.create_app() made, with whatever was added to it"
        )
    return app


def _told(error: Exception) -> str:
    """The error, and where in the code it was raised."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f"{type(error).__name__}: {error} ({frames[-1].filename}, line {frames[-1].lineno})"
