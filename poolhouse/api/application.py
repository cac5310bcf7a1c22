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
        ConfigError: the module can't be imported, has no such function, or the function returns something else than the
            application of `create_app()`.
    """
    module, _, attribute = name.partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute, None)
    except ConfigError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({frame.filename}, line {frame.lineno})" if not isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(
            f"api = {name!r} in pipeline.toml: {module} can't be imported: {type(error).__name__}: {error}{where}"
        ) from error
    if not callable(make):
        raise ConfigError(f"api = {name!r} in pipeline.toml: {module} has no function {attribute}")
    app = make()
    if not isinstance(app, FastAPI) or not isinstance(getattr(app.state, "events", None), TaskEvents):
        raise ConfigError(
            f"api = {name!r} in pipeline.toml: {attribute}() must return the application that "
            "poolhouse.api.create_app() made, with whatever was added to it"
        )
    return app
