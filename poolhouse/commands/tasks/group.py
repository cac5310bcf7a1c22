"""`invoke group`: how a group of tasks gets on; or the group cancelled."""

from __future__ import annotations

import time

from poolhouse.client import calls
from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal, status
from poolhouse.pipeline.exit_codes import FAILED, OK
from poolhouse.pipeline.tasks.records import Status

#: Seconds between two looks at a group that is watched.
LOOK_S = 1.0
#: Statuses of a group in which nothing more happens by itself, but perhaps its join's.
_AT_REST = {"ended", "waiting", "cancelled"}


def show(api: Client, group_id: str, *, watch: bool, as_json: bool, terminal: Terminal) -> int:
    """Show a group; with `watch` until nothing more happens by itself, and whether its join has succeeded."""
    group = api.send(calls.group(group_id))
    while watch and not _at_rest(group):
        if as_json:
            terminal.json(group)
        else:
            terminal.line(f"{_progress(group)}  {_counts(group)}")
        time.sleep(LOOK_S)
        group = api.send(calls.group(group_id))
    if as_json:
        terminal.json(group)
    else:
        _describe(group, terminal)
    return OK if not watch or _well(group) else FAILED


def cancel(api: Client, group_id: str, *, terminal: Terminal) -> int:
    """Cancel a group."""
    answer = api.send(calls.cancel_group(group_id))
    notified = answer["notified"]
    running = f": {notified} running members end at their next checkpoint" if notified else ""
    terminal.say(f"{group_id} is {status('cancelled')}{running}")
    return OK


def _describe(group: Document, terminal: Terminal) -> None:
    terminal.out.print(f"[bold]{group['group_id']}[/]  {group['status']}")
    terminal.line(f"  created    {group['created_at']}")
    terminal.line(f"  settled    {_progress(group)}")
    terminal.line(f"  members    {_counts(group)}")
    if group.get("parent_id"):
        terminal.line(f"  made by    {group['parent_id']}")
    for name, label in (("then", "join"), ("on_failure", "on failure")):
        if group.get(name):
            task = group[name]
            terminal.line(f"  {label:<10} {task['task_type']}  {task['task_id']}  {task['status'].replace('_', ' ')}")
    if group["status"] == "waiting":
        terminal.say("members have failed: ./invoke dlq list shows why; replay or discard them, and the join goes on")


def _progress(group: Document) -> str:
    size = group.get("size")
    return f"{group['settled']:,} of {'?' if size is None else f'{size:,}'}"


def _counts(group: Document) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in group["counts"].items() if number) or "none yet"


def _at_rest(group: Document) -> bool:
    join = group.get("then")
    if group["status"] == "ended" and join is not None:
        return join["status"] != "waiting" and Status(join["status"]).final
    return group["status"] in _AT_REST


def _well(group: Document) -> bool:
    join = group.get("then")
    return group["status"] == "ended" and (join is None or join["status"] == Status.SUCCEEDED)
