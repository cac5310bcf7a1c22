"""Containers in the words of the stack. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from datetime import datetime

from poolhouse.local.backend import ServiceState, ServiceStatus
from poolhouse.local.compose.engine import Container
from poolhouse.local.processes import ports

#: Compose's names for what the backends' common words are, where they differ.
_WORDS = {"gcs": "storage", "dead-letters": "worker"}
_ORDER = ("pubsub", "storage", "api", "worker")


def word(service: str) -> str:
    """The backends' common word for a Compose service."""
    return "worker" if service.startswith("worker-") else _WORDS.get(service, service)


def order(service: str) -> int:
    """Where a Compose service comes in lists."""
    return _ORDER.index(word(service)) if word(service) in _ORDER else len(_ORDER)


def status(
    container: Container, instance: str, *, now: datetime, healthy: bool, last_exit: int | None = None
) -> ServiceStatus:
    """What is shown of a container.

    Args:
        container: as the engine describes it.
        instance: its name without the project's.
        now: for how long it has been up.
        healthy: whether its health check passes, also where the engine has not looked yet.
        last_exit: the exit code of its last run, where this is another one and that is known.
    """
    if healthy:
        how = ServiceState.READY
    elif container.state == "restarting":
        how = ServiceState.BACKOFF
    elif container.state in ("created", "running"):
        how = ServiceState.STARTING
    else:
        how = ServiceState.STOPPED
    running = container.state == "running" and container.started_at is not None
    # A running container's exit code is 0, whatever ended it before.
    code = last_exit if running else container.exit_code
    return ServiceStatus(
        service=word(container.service),
        instance=instance,
        state=how,
        pid=container.pid,
        address=", ".join(f"{ports.HOST}:{port}" for port in container.ports.values()) or None,
        uptime_s=(now - container.started_at).total_seconds() if running and container.started_at else None,
        restarts=container.restarts,
        last_exit=None if code is None or container.state == "created" else ended(code, container.out_of_memory),
    )


def gone(services: Iterable[str]) -> tuple[ServiceStatus, ...]:
    """Services that should run and have no container."""
    return tuple(
        ServiceStatus(
            service=word(name),
            instance=name,
            state=ServiceState.STOPPED,
            note="its container is gone: ./invoke up brings it back",
        )
        for name in services
    )


def lacking(expected: Mapping[str, int], containers: Iterable[Container]) -> tuple[str, ...]:
    """Services of which fewer containers run than should."""
    alive = [container.service for container in containers if container.state in ("running", "restarting")]
    return tuple(name for name, wanted in expected.items() if alive.count(name) < wanted)


def ended(code: int, out_of_memory: bool = False) -> str:
    """An exit code in words."""
    if out_of_memory:
        return "out of memory"
    if code > 128:
        try:
            return f"exit code {code} ({signal.Signals(code - 128).name})"
        except ValueError:
            pass
    return f"exit code {code}"
