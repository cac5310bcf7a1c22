"""`invoke top`: queues, task types and what runs now, kept current in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.commands.terminal import Terminal, now
from poolhouse.local import live_displays
from poolhouse.pipeline.exit_codes import OK

#: Pause between two looks, in seconds.
EVERY_S = 2.0
#: Running tasks that are shown, those that have run longest.
MOST_RUNNING = 10
#: Minutes that charts, times and failures are of, and those that rates are of.
WINDOW_MIN, RATE_MIN = 60, 5
_BLOCKS = " ▁▂▃▄▅▆▇█"


def run(api: Client, *, as_json: bool, terminal: Terminal, sleep: Callable[[float], object] = time.sleep) -> int:
    """Show it until Ctrl-C; once, where the output is no terminal or JSON is asked for."""
    if as_json:
        terminal.json(_look(api), indent=2)
        return OK
    if not terminal.out.is_terminal:
        terminal.out.print(view(_look(api)))
        return OK
    with live_displays.screen(terminal.out) as live:
        try:
            while True:
                try:
                    live.update(view(_look(api)), refresh=True)
                except ApiError as error:
                    live.update(f"[red]{escape(str(error))}[/]", refresh=True)
                sleep(EVERY_S)
        except KeyboardInterrupt:
            return OK


def _look(api: Client) -> Document:
    statistics: Document = api.get("/statistics", minutes=str(WINDOW_MIN))
    running = api.get("/tasks", status="running", page_size="1000")["tasks"]
    longest = sorted(running, key=lambda task: str(task.get("started_at", "")))[:MOST_RUNNING]
    return {**statistics, "running": [{**task, "worker": _worker(api, task["task_id"])} for task in longest]}


def _worker(api: Client, task_id: str) -> str:
    """The worker that a task runs on; empty where it has just ended, or its record is gone."""
    try:
        attempts = api.get(f"/tasks/{segment(task_id)}").get("attempts", ())
    except ApiError as error:
        if error.status == 0:
            raise
        return ""
    return str(attempts[-1]["worker"]) if attempts else ""


def view(found: Document) -> RenderableType:
    """What the terminal shows."""
    parts: list[RenderableType] = [_queues(found["queues"])]
    if found["task_types"]:
        parts += ["", _task_types(found["task_types"])]
    if found["running"]:
        parts += ["", _running(found["running"])]
    return Group(*parts, "", f"[dim]rates: {RATE_MIN} minutes; all else: {WINDOW_MIN} minutes; times p50 / p95[/]")


def _queues(queues: Sequence[Document]) -> Table:
    numbers = ("waiting", "running", "delayed", "parked", "dead", "in/min", "out/min")
    table = _table("queue", *numbers, "wait", "run", "out")
    for queue in queues:
        dead = f"[red]{queue['dead']}[/]" if queue["dead"] else "0"
        table.add_row(
            queue["name"],
            *("?" if queue[name] is None else str(queue[name]) for name in numbers[:4]),
            dead,
            _rate(queue["submitted"]),
            _rate(queue["ended"]),
            _times(queue["ends"]["wait"]),
            _times(queue["ends"]["run"]),
            sparkline(queue["ended"][-30:]),
        )
    return table


def _task_types(task_types: Sequence[Document]) -> Table:
    table = _table("task type", "ended", "failed", "wait", "run")
    for each in task_types:
        ends = each["ends"]
        failed = f"[red]{ends['failed']} ({100 * ends['failed'] / ends['ended']:.1f} %)[/]" if ends["failed"] else "0"
        table.add_row(escape(each["task_type"]), str(ends["ended"]), failed, _times(ends["wait"]), _times(ends["run"]))
    return table


def _running(tasks: Sequence[Document]) -> Table:
    table = Table("running now", "type", "queue", "attempt", "since", "worker", box=None, header_style="bold")
    for task in tasks:
        began = units.moment(task.get("started_at"))
        table.add_row(
            escape(task["task_id"]),
            escape(task["task_type"]),
            task["queue"],
            str(task["attempts"]),
            "" if began is None else units.age(began, now=now()),
            escape(task["worker"]),
        )
    return table


def sparkline(counts: Sequence[int]) -> str:
    """Counts as a line of blocks, the largest one full."""
    most = max([1, *counts])
    return "".join(_BLOCKS[-(-count * (len(_BLOCKS) - 1) // most)] for count in counts)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name == "out" else "right", no_wrap=True)
    return table


def _rate(counts: Sequence[int]) -> str:
    return f"{sum(counts[-RATE_MIN:]) / RATE_MIN:.1f}"


def _times(found: Document | None) -> str:
    return "" if found is None else f"{units.brief(found['p50_s'])} / {units.brief(found['p95_s'])}"
