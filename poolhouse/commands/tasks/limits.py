"""`invoke limits`."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal
from poolhouse.pipeline.exit_codes import OK


def show(api: Client, *, as_json: bool = False, terminal: Terminal | None = None) -> int:
    """List the limits in use."""
    terminal = terminal or Terminal()
    answer = api.get("/limits")
    limits: list[Document] = answer["limits"]
    if as_json:
        for limit in limits:
            terminal.json(limit)
    elif not limits:
        terminal.say("no limit is in use: no task of a type with limit= or serial_by= has run within the last seconds")
    else:
        terminal.table(
            ("task type", "key", "running or kept", "starts", "waiting", "workers"),
            (
                (
                    escape(limit["task_type"]),
                    escape(", ".join(f"{name}={value}" for name, value in limit["key"].items())) or "all",
                    f"{limit['slots_held']} of {limit['max_concurrency']}" if limit["max_concurrency"] else "",
                    f"{limit['starts_held'] + limit['starts_cooling']} of {limit['rate']}" if limit["rate"] else "",
                    str(limit["waiting"]),
                    escape(_workers(limit)),
                )
                for limit in limits
            ),
        )
        if answer["more"]:
            terminal.say("there are more: these are the first")
    return OK


def _workers(limit: Document) -> str:
    if limit["holders"] is None:
        return str(limit["processes"])
    return ", ".join(f"{holder['process']} ({holder['slots'] or holder['starts']})" for holder in limit["holders"])
