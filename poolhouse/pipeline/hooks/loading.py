"""The hooks that pipeline.toml names."""

from __future__ import annotations

from collections.abc import Iterable

from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.hooks.hook import Hook
from poolhouse.pipeline.imports import describe, import_module


def load(names: Iterable[str]) -> tuple[Hook, ...]:
    """Import hooks; a class, or a function that makes one, is called without arguments.

    Args:
        names: `module:Name`, as pipeline.toml has them.

    Raises:
        ConfigError: one can't be imported or made, or is no `Hook`.
    """
    return tuple(_load(name) for name in names)


def _load(name: str) -> Hook:
    where = f"hooks in pipeline.toml, {name!r}"
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module, named_by=where), attribute)
    except AttributeError:
        raise ConfigError(f"{where}: {module} has no {attribute}") from None
    if not isinstance(found, Hook) and callable(found):
        try:
            found = found()
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"{where}: {attribute}() failed: {describe(error)}") from error
    if not isinstance(found, Hook):
        raise ConfigError(f"{where}: a {type(found).__name__} is no hook: let its class derive from poolhouse.Hook")
    return found
