"""`invoke schedule list|run|pause|resume`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.commands.terminal import Terminal, now
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK


def show_list(api: Client, *, as_json: bool, terminal: Terminal) -> int:
    """List the schedules; 1 where one of them can't run."""
    schedules: list[Document] = api.get("/schedules")["schedules"]
    if as_json:
        for schedule in schedules:
            terminal.json(schedule)
    elif not schedules:
        terminal.say("pipeline.toml declares no schedule: add one as [schedules.NAME]")
    else:
        terminal.table(
            ("schedule", "cron", "time zone", "task type", "queue", "next", "last"),
            (
                (
                    schedule["name"],
                    schedule["cron"],
                    schedule["time_zone"],
                    escape(schedule["task_type"]),
                    schedule["queue"],
                    _next(schedule),
                    _last(schedule),
                )
                for schedule in schedules
            ),
        )
    broken = [schedule for schedule in schedules if schedule["problem"]]
    for schedule in broken:
        terminal.say(f"[red]{schedule['name']} can't run[/]: {escape(schedule['problem'])}; mend it in pipeline.toml")
    return FAILED if broken else OK


def change(api: Client, verb: str, names: Sequence[str], *, terminal: Terminal) -> int:
    """Run, pause or resume schedules.

    Args:
        api: the pipeline's.
        verb: `run`, `pause` or `resume`.
        names: the schedules.
        terminal: where to write.
    """
    if not names:
        raise ConfigError(f"which one? ./invoke schedule {verb} NAME (./invoke schedule list shows the names)")
    for name in names:
        answer = api.post(f"/schedules/{segment(name)}:{verb}")
        if verb == "run":
            terminal.line(answer["task_id"])
            terminal.say(f"submitted; ./invoke tasks {answer['task_id']} shows its status")
        elif verb == "pause":
            terminal.say(f"{name} is paused: ./invoke schedule resume {name} lets it run again")
        else:
            terminal.say(f"{name} runs next at {answer['next_due_at'] or 'no time'}")
    return OK


def _next(schedule: Document) -> str:
    if schedule["paused_at"]:
        return "[yellow]paused[/]"
    at = units.moment(schedule["next_due_at"])
    return "[red]never[/]" if at is None else units.age(at, now=now())


def _last(schedule: Document) -> str:
    run = schedule["last_run"]
    at = units.moment(run["due_at"]) if run else None
    if at is None:
        return ""
    how = " by hand" if run["by_hand"] else "" if run["published_at"] else " (waits for the queue)"
    return f"{units.age(at, now=now())} ago{how}  {run['task_id']}"
