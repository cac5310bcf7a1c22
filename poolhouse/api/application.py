"""The application that pipeline.toml names under `api`."""

from __future__ import annotations

from fastapi import FastAPI

from poolhouse.api.routes.events import TaskEvents
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.imports import describe, import_module


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
    make = getattr(import_module(module, named_by=where), attribute, None)
    if not callable(make):
        raise ConfigError(f"{where}: {module} has no function {attribute}")
    try:
        app = make()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{where}: {attribute}() failed: {describe(error)}") from error
    if not isinstance(app, FastAPI) or not isinstance(getattr(app.state, "events", None), TaskEvents):
        raise ConfigError(
            f"{where}: {attribute}() must return the application that "
            "poolhouse.api.create_app() made, with whatever was added to it"
        )
    return app
