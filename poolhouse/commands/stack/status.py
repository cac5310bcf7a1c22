"""Show the services, the queues, and the workers of each queue."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests
from rich.table import Table

from poolhouse.client import loopback, units
from poolhouse.commands.output import err, out, plain
from poolhouse.local import backends
from poolhouse.local.backend import SERVICES, Endpoints, QueueScale, ServiceState, default_state_dir
from poolhouse.pipeline.exit_codes import FAILED, OK


def status(*, as_json: bool = False, state_dir: Path | None = None) -> int:
    """Show services and queues, as tables or as one JSON object; return 1 unless all services are ready."""
    state_dir = state_dir or default_state_dir()
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
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return code
    table = Table("service", "state", "pid", "address", "up", "restarts", "last exit", box=None, header_style="bold")
    for entry in entries:
        ready = entry.state is ServiceState.READY
        table.add_row(
            entry.instance,
            f"[{'green' if ready else 'red'}]{entry.state}[/]",
            str(entry.pid or ""),
            entry.address or "",
            "" if entry.uptime_s is None else units.span(entry.uptime_s),
            str(entry.restarts or ""),
            entry.last_exit or "",
        )
    console = endpoints.console_url or "./invoke console"
    out.print(f"backend {backend.name}, project {endpoints.project}, bucket {endpoints.bucket}, console {console}")
    out.print(table)
    for entry in entries:
        if entry.note:
            out.print(f"[red]{entry.instance}: {plain(entry.note)}[/]")
    _print_queues(endpoints)
    _print_scaling(backend.scaling())
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


def _print_queues(endpoints: Endpoints) -> None:
    queues = _queues(endpoints)
    if queues is None:
        return
    table = Table("queue", "state", "backlog", "in flight", "oldest", "dead letters", box=None, header_style="bold")
    for queue in queues:
        age = queue["oldest_age_s"]
        figures = ["?" if queue[key] is None else str(queue[key]) for key in ("backlog", "in_flight")]
        state = "[yellow]paused[/]" if queue["paused_at"] else "runs"
        table.add_row(queue["name"], state, *figures, "" if not age else units.span(age), str(queue["dead_letters"]))
    out.print()
    out.print(table)


def _print_scaling(scaling: tuple[QueueScale, ...]) -> None:
    """Print the workers of each queue; nothing unless they are scaled with the backlog."""
    if not scaling:
        return
    table = Table("queue", "backlog", "workers", "wanted", "least-most", box=None, header_style="bold")
    for entry in scaling:
        backlog = "?" if entry.backlog is None else str(entry.backlog)
        table.add_row(entry.queue, backlog, str(entry.running), str(entry.wanted), f"{entry.least}-{entry.most}")
    out.print()
    out.print(table)
