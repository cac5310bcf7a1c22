"""`invoke trigger list|backfill`."""

from __future__ import annotations

from rich.markup import escape

from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal
from poolhouse.pipeline.exit_codes import OK


def show_list(api: Client, *, as_json: bool, terminal: Terminal) -> int:
    """List the triggers."""
    triggers: list[Document] = api.get("/triggers")["triggers"]
    if as_json:
        for trigger in triggers:
            terminal.json(trigger)
    elif not triggers:
        terminal.say("pipeline.toml declares no trigger: add one as [triggers.NAME]")
    else:
        terminal.table(
            ("trigger", "files", "task type", "queue"),
            (
                (
                    trigger["name"],
                    escape(f"{trigger['prefix']}*{trigger['suffix']}"),
                    escape(trigger["task_type"]),
                    trigger["queue"],
                )
                for trigger in triggers
            ),
        )
    return OK


def backfill(api: Client, name: str, *, dry_run: bool, terminal: Terminal) -> int:
    """Start a trigger's task for each of its files that is there; again it starts none anew.

    Args:
        api: the pipeline's.
        name: the trigger.
        dry_run: only count.
        terminal: where to write.
    """
    path = f"/triggers/{segment(name)}:backfill?dry_run={str(dry_run).lower()}"
    files, token = 0, ""
    examples: list[str] = []
    while True:
        answer = api.post(f"{path}&page_token={segment(token)}" if token else path)
        files += answer["files"]
        examples += answer["examples"][: 3 - len(examples)]
        token = answer["next_page_token"]
        if token is None:
            break
        terminal.say(f"{files} files so far")
    shown = f" ({', '.join(map(escape, examples))}{', …' if files > len(examples) else ''})" if examples else ""
    if dry_run:
        terminal.say(f"{files} files{shown}: without --dry-run each starts its task")
    else:
        terminal.say(f"{files} files{shown}: each version has started its task now, or had before")
    return OK
