"""The attempts of a task as text: of its record, or of its dead letter."""

from __future__ import annotations

from collections.abc import Sequence

from poolhouse.client.answers import Document
from poolhouse.commands.terminal import Terminal


def show(attempts: Sequence[Document], terminal: Terminal) -> None:
    """Print each attempt with its error, and the traceback of the newest one that has a traceback."""
    for attempt in attempts:
        error = attempt.get("error")
        said = f": {error['type']}: {error['message']}" if error else ""
        ended = f" to {attempt['ended_at']}" if attempt.get("ended_at") else ""
        outcome = f"{attempt['outcome']}  " if attempt.get("outcome") else ""
        terminal.line(f"  attempt {attempt['number']}  {outcome}{attempt['started_at']}{ended}{_worker(attempt)}{said}")
    for attempt in reversed(attempts):
        if traceback := (attempt.get("error") or {}).get("traceback"):
            terminal.line("    " + traceback.replace("\n", "\n    "))
            return


def _worker(attempt: Document) -> str:
    return f" on {attempt['worker']}" if attempt.get("worker") else ""
