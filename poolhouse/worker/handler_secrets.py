"""Secrets that handlers say they need: declared in pipeline.toml, and set where the handlers run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError

if TYPE_CHECKING:
    from poolhouse.worker.registry import Handler


def check_declared(handlers: Iterable[Handler], topology: Topology) -> None:
    """Check that workers of each handler's queue are given what it needs.

    Raises:
        ConfigError: names each handler and each secret that is not declared.
    """
    _refuse(
        f"{_needs(handler, name)}, and pipeline.toml declares none of that name: add "
        f'`{name} = "latest"` under [secrets], or under [queues.{queue}.secrets]'
        for handler in handlers
        for queue in (handler.queue_in(topology),)
        for name in handler.secrets
        if name not in topology.secrets_of(topology.by_name[queue])
    )


def check_set(
    handlers: Iterable[Handler], topology: Topology, *, queues: Collection[str], environment: Mapping[str, str]
) -> None:
    """Check, as a worker starts, that the secrets of the handlers of its queues have values.

    Args:
        handlers: all handlers.
        topology: the declaration.
        queues: those that the worker serves.
        environment: the worker's variables.

    Raises:
        ConfigError: names each handler and each variable that is unset or empty.
    """
    _refuse(
        f"{_needs(handler, name)}, and the variable {name} is not set: put it into .env for a local stack "
        f"(a deploy takes it from Secret Manager: `./invoke secret set {name}`)"
        for handler in handlers
        if handler.queue_in(topology) in queues
        for name in handler.secrets
        if not environment.get(name)
    )


def _needs(handler: Handler, name: str) -> str:
    return f"{handler.defined_at}: the handler of {handler.task_type} needs the secret {name}"


def _refuse(problems: Iterator[str]) -> None:
    if text := "\n".join(problems):
        raise ConfigError(text)
