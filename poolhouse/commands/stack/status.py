"""Show the services, the queues, and the workers of each queue."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from poolhouse.client import loopback, units
from poolhouse.commands.output import err, out, plain
from poolhouse.commands.terminal import Terminal
from poolhouse.local import backends
from poolhouse.local.backend import SERVICES, Endpoints, QueueScale, ServiceState, default_state_dir
from poolhouse.pipeline.exit_codes import FAILED, OK


def status(*, as_json: bool = False, state_dir: Path | None = None) -> int:
    """Show services and queues, as tables or as one JSON object; return 1 unless all services are ready."""
    state_dir = state_dir or default_state_dir()
    terminal = Terminal()
    backend = backends.current(state_dir)
    endpoints = backend.endpoints()
    entries = backend.status()
    # The console need not be ready.
    all_ready = all(entry.state is ServiceState.READY for entry in entries if entry.service in SERVICES)
    code = OK if all_ready else FAILED
    if as_json:
        found = {
            "backend": backend.name,
            **asdict(endpoints),
            "services": [asdict(entry) for entry in entries],
            "queues": _queues(endpoints),
            "scaling": [asdict(entry) for entry in backend.scaling()],
        }
        terminal.json(found, indent=2)
        return code
    rows = [
        (
            entry.instance,
            f"[{'green' if entry.state is ServiceState.READY else 'red'}]{entry.state}[/]",
            str(entry.pid or ""),
            entry.address or "",
            "" if entry.uptime_s is None else units.span(entry.uptime_s),
            str(entry.restarts or ""),
            entry.last_exit or "",
        )
        for entry in entries
    ]
    console = endpoints.console_url or "./invoke console"
    out.print(f"backend {backend.name}, project {endpoints.project}, bucket {endpoints.bucket}, console {console}")
    terminal.table(("service", "state", "pid", "address", "up", "restarts", "last exit"), rows)
    for entry in entries:
        if entry.note:
            out.print(f"[red]{entry.instance}: {plain(entry.note)}[/]")
    _print_queues(endpoints, terminal)
    _print_scaling(backend.scaling(), terminal)
    return code


def _queues(endpoints: Endpoints) -> list[dict[str, Any]] | None:
    """Return the queues as the API reports them; if it does not, print why and return None."""
    try:
        with loopback.session() as session:
            answer = session.get(f"{endpoints.api_url}/queues", timeout=5)
        answer.raise_for_status()
        queues: list[dict[str, Any]] = answer.json()["queues"]
    except (requests.RequestException, ValueError, KeyError) as error:
        err.print(f"[red]the API returned no queues: {plain(error)}[/]")
        return None
    return queues


def _print_queues(endpoints: Endpoints, terminal: Terminal) -> None:
    queues = _queues(endpoints)
    if queues is None:
        return
    rows = []
    for queue in queues:
        age = queue["oldest_age_s"]
        figures = ["?" if queue[key] is None else str(queue[key]) for key in ("backlog", "in_flight")]
        state = "[yellow]paused[/]" if queue["paused_at"] else "runs"
        rows.append((queue["name"], state, *figures, "" if not age else units.span(age), str(queue["dead_letters"])))
    out.print()
    terminal.table(("queue", "state", "backlog", "in flight", "oldest", "dead letters"), rows)


def _print_scaling(scaling: tuple[QueueScale, ...], terminal: Terminal) -> None:
    """Print the workers of each queue; nothing unless they are scaled with the backlog."""
    if not scaling:
        return
    rows = []
    for entry in scaling:
        backlog = "?" if entry.backlog is None else str(entry.backlog)
        rows.append((entry.queue, backlog, str(entry.running), str(entry.wanted), f"{entry.least}-{entry.most}"))
    out.print()
    terminal.table(("queue", "backlog", "workers", "wanted", "least-most"), rows)
