"""`invoke tasks`: the tasks that are scheduled or that a worker has claimed; or one, shown, cancelled or moved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import islice

from rich.markup import escape

from poolhouse.client import calls, units
from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.commands.tasks import attempts
from poolhouse.commands.terminal import Terminal, now, status
from poolhouse.pipeline.exit_codes import OK

#: Pause between two looks for changed tasks, and how far back each looks, in seconds: processes write to the index at
#: times of their own.
FOLLOW_S, FOLLOW_WINDOW_S = 1.0, 30.0


def show_list(api: Client, query: Mapping[str, str], *, limit: int, as_json: bool, terminal: Terminal) -> int:
    """List tasks, the newest first: a table, or a JSON object a line."""
    page_size = str(min(max(limit, 1), 1000))
    tasks = list(islice(api.pages("/tasks", "tasks", page_size=page_size, **query), limit))
    if as_json:
        for task in tasks:
            terminal.json(task)
        return OK
    if not tasks:
        terminal.say("no matching tasks" if query else "no tasks yet")
        return OK
    terminal.table(
        ("task", "type", "queue", "status", "submitted", "changed", "reason"),
        ((*_cells(task), escape(task.get("reason", ""))) for task in tasks),
    )
    if len(tasks) == limit and (total := _total(api, query)) > limit:
        terminal.say(f"the newest {limit} of {total}; --limit shows more")
    return OK


def count(api: Client, query: Mapping[str, str], *, terminal: Terminal) -> int:
    """Print how many tasks are meant."""
    terminal.line(str(_total(api, query)))
    return OK


def follow_list(
    api: Client,
    query: Mapping[str, str],
    *,
    as_json: bool,
    terminal: Terminal,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Print each task that changes, as it is then, until Ctrl-C.

    Args:
        api: the pipeline's.
        query: which ones, as GET /tasks takes it.
        as_json: a JSON object a line.
        terminal: where to write.
        sleep: the pause between two looks, given its seconds.
    """
    since = now()
    seen: dict[str, str] | None = None  # until the first look, which only tells what is there already
    while True:
        after = since - timedelta(seconds=FOLLOW_WINDOW_S)
        found = list(api.pages("/tasks", "tasks", page_size="1000", changed_after=after.isoformat(), **query))
        for task in sorted(found, key=lambda task: str(task["updated_at"])):
            if seen is None or seen.get(task["task_id"]) == task["updated_at"]:
                continue
            if as_json:
                terminal.json(task)
            else:
                terminal.out.print(f"{task['updated_at'][11:19]}  {'  '.join(_cells(task)[:4])}{_because(task)}")
        seen = {task["task_id"]: task["updated_at"] for task in found}
        since = max([since, *(at for task in found if (at := units.moment(task["updated_at"])) is not None)])
        sleep(FOLLOW_S)


def rebuild(api: Client, *, as_json: bool, terminal: Terminal) -> int:
    """Compare the index with the records, and say what was wrong in it."""
    done: Document = api.send(calls.rebuild_index())
    if as_json:
        terminal.json(done)
        return OK
    terminal.line(
        f"{done['records']} records in {done['seconds']:.1f} s: "
        f"{done['corrected']} corrected in the index, {done['removed']} removed from it"
    )
    return OK


def show(api: Client, task_id: str, *, as_json: bool, terminal: Terminal) -> int:
    """Show one task: its attempts, progress, payload and result."""
    task: Document = api.get(f"/tasks/{segment(task_id)}")
    if as_json:
        terminal.json(task)
        return OK
    terminal.out.print(
        f"[bold]{escape(task['task_id'])}[/]  {escape(task.get('task_type', ''))}  {status(task['status'])}"
    )
    terminal.line(f"  submitted  {task['submitted_at']} ({_ago(task['submitted_at'])} ago)")
    if "queue" not in task:
        terminal.say("no worker has touched it yet")
        return OK
    terminal.line(f"  queue      {task['queue']}")
    for name in (
        "trigger",
        "schedule",
        "parent_id",
        "group_id",
        "not_before",
        "waits_for",
        "reason",
        "cancel_requested_at",
    ):
        if task.get(name):
            terminal.line(f"  {name.replace('_', ' '):<10} {task[name]}")
    if progress := task.get("progress"):
        terminal.line(f"  progress   {units.progress(progress)}  {progress.get('note') or ''}".rstrip())
    attempts.show(task.get("attempts", ()), terminal)
    for step in task.get("steps", ()):
        terminal.line(
            f"  step {step['name']}  attempt {step['attempt']}  {_took(step)}  {units.size(step['size_bytes'])}"
        )
    if task.get("cursor") is not None:
        terminal.line(f"  cursor     {json.dumps(task['cursor'], ensure_ascii=False)}")
    for name in ("payload", "payload_object", "result", "result_object"):
        if task.get(name) not in (None, {}):
            text = json.dumps(task[name], indent=2, ensure_ascii=False).replace("\n", "\n  ")
            terminal.line(f"  {name.replace('_', ' ')}: {text}")
    return OK


def change(api: Client, task_id: str, *, cancel: bool, timing: Document, terminal: Terminal) -> None:
    """Cancel a task, or run it now, or at the time that `timing` says."""
    path = f"/tasks/{segment(task_id)}"
    if cancel:
        answer = api.post(f"{path}:cancel")
        stops = "" if answer["status"] == "cancelled" else ": its handler ends at its next checkpoint"
        terminal.say(f"{task_id} is {status(answer['status'])}{stops}")
        return
    answer = api.post(f"{path}:reschedule", timing) if timing else api.post(f"{path}:run-now")
    due = f", due {_in(answer['not_before'])}" if answer.get("not_before") else ""
    terminal.say(f"{task_id} is {status(answer['status'])}{due}")


def _cells(task: Document) -> tuple[str, str, str, str, str, str]:
    return (
        escape(task["task_id"]),
        escape(task["task_type"]),
        task["queue"],
        f"{status(task['status'])} {_in(task.get('not_before'))}".rstrip(),
        _ago(task["submitted_at"]),
        _ago(task["updated_at"]),
    )


def _because(task: Document) -> str:
    return f": {escape(task['reason'])}" if task.get("reason") else ""


def _total(api: Client, query: Mapping[str, str]) -> int:
    return int(api.get("/tasks", page_size="1", count="true", **query)["total"])


def _in(text: str | None) -> str:
    at = units.moment(text)
    return "" if at is None else units.age(at, now=now())


def _took(step: Document) -> str:
    began, ended = units.moment(step["started_at"]), units.moment(step["ended_at"])
    return "?" if began is None or ended is None else units.span((ended - began).total_seconds())


def _ago(text: str) -> str:
    at = units.moment(text)
    return "?" if at is None else units.age(at, now=now())
