"""A task's events: followed to its end, each as a line of text or as a JSON object."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.client.event_stream import Event
from poolhouse.commands.terminal import Terminal, now, status
from poolhouse.pipeline.exit_codes import FAILED, OK


def follow(api: Client, task_id: str, *, as_json: bool, terminal: Terminal) -> int:
    """Print what happens to a task until it has ended; 1 unless it succeeds."""
    data: Document = {}
    for event in api.events(task_id):
        data = event.data
        if as_json:
            terminal.json({"task_id": task_id, "event": event.name, **data})
        else:
            terminal.out.print(f"{now():%H:%M:%S}  {escape(task_id)}  {line(event)}")
    return OK if data.get("status") == "succeeded" else FAILED


def line(event: Event) -> str:
    """Return an event as text, with rich's markup."""
    data = event.data
    if event.name != "progress":
        attempt = f" (attempt {data['attempt']})" if data.get("attempt", 0) > 1 else ""
        because = f": {escape(str(data['reason']))}" if data.get("reason") else ""
        return f"{status(data['status'])}{attempt}{because}"
    progress = data.get("progress") or {}
    note = f"  {escape(str(progress['note']))}" if progress.get("note") else ""
    return f"  {units.progress(progress)}{note}"
