"""`invoke queue list|pause|resume|purge`, and `invoke cancel`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.client.calls import segment
from poolhouse.client.client import Client
from poolhouse.client.errors import ApiError
from poolhouse.client.units import Pace
from poolhouse.commands.terminal import Terminal, now, status
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK

#: Tasks that one call cancels, at the most.
_PAGE = 100
#: Tasks that one call counts.
_COUNTED = 1000


def show_list(api: Client, *, as_json: bool, terminal: Terminal) -> int:
    """List the queues: what waits in each, and whether it is paused."""
    queues: list[Document] = api.get("/queues")["queues"]
    if as_json:
        for queue in queues:
            terminal.json(queue)
        return OK
    terminal.table(
        ("queue", "state", "backlog", "in flight", "oldest", "dead letters"),
        (
            (
                queue["name"],
                _state(queue),
                _figure(queue["backlog"]),
                _figure(queue["in_flight"]),
                units.span(queue["oldest_age_s"]) if queue["oldest_age_s"] else "",
                str(queue["dead_letters"]),
            )
            for queue in queues
        ),
    )
    return OK


def change(api: Client, verb: str, names: Sequence[str], *, terminal: Terminal) -> int:
    """Pause or resume queues.

    Args:
        api: the pipeline's.
        verb: `pause` or `resume`.
        names: the queues.
        terminal: where to write.
    """
    for name in _named(names, verb):
        api.post(f"/queues/{segment(name)}:{verb}")
        if verb == "pause":
            terminal.say(
                f"{name} is paused: within 2 s its workers start nothing more; ./invoke queue resume {name} goes on"
            )
        else:
            terminal.say(f"{name} runs")
    return OK


def purge(
    api: Client, names: Sequence[str], *, dry_run: bool, yes: bool, rate: float | None, terminal: Terminal
) -> int:
    """Cancel all that waits in queues; ask first, unless `yes`. 1 if the question was denied."""
    for name in _named(names, "purge"):
        path = f"/queues/{segment(name)}:purge"
        question = f"Purge {name}?"
        if _cancel(api, path, {}, question, dry_run=dry_run, yes=yes, rate=rate, terminal=terminal) != OK:
            return FAILED
        if not dry_run and any(queue["name"] == name and queue["paused_at"] for queue in api.get("/queues")["queues"]):
            terminal.say(
                f"{name} is paused: messages that wait are cancelled once it is resumed: ./invoke queue resume {name}"
            )
    return OK


def cancel(api: Client, chosen: Document, *, dry_run: bool, yes: bool, rate: float | None, terminal: Terminal) -> int:
    """Cancel all tasks that match; ask first, unless `yes`. 1 if the question was denied.

    Args:
        api: the pipeline's.
        chosen: the filter, as `POST /tasks:cancel` takes it.
        dry_run: show what would be cancelled, and change nothing.
        yes: skip the question.
        rate: the most to cancel in a second.
        terminal: where to write.
    """
    if not chosen:
        raise ConfigError(
            "which ones? ./invoke cancel with filters (--type, --queue, --status, --older, --newer), or --all"
        )
    return _cancel(api, "/tasks:cancel", chosen, "Cancel them?", dry_run=dry_run, yes=yes, rate=rate, terminal=terminal)


def _cancel(
    api: Client,
    path: str,
    chosen: Document,
    question: str,
    *,
    dry_run: bool,
    yes: bool,
    rate: float | None,
    terminal: Terminal,
) -> int:
    matched, samples, waiting = _preview(api, path, chosen)
    what = f"{_tasks(matched)} found"
    if waiting:
        what += f"; {waiting} messages wait, of which those that match are cancelled when a worker meets them"
    if dry_run:
        _show(samples, terminal)
        terminal.say(f"{what}. Nothing was cancelled: this was a dry run")
        return OK
    terminal.say(what)
    if not terminal.confirm(f"{question} That can't be undone.", yes=yes):
        terminal.say("nothing was cancelled")
        return FAILED
    page_size = _PAGE if rate is None else max(1, min(_PAGE, int(rate)))
    pace = Pace(None if rate is None else rate / page_size)
    done = {"cancelled": 0, "notified": 0, "skipped": 0}
    token: str | None = None
    problem = ""
    with terminal.bars(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as bars:
        bar = bars.add_task("cancelled", total=matched)
        while True:
            pace.wait()
            try:
                answer = api.post(path, {**chosen, "page_size": page_size, "page_token": token})
            except ApiError as error:
                problem = str(error)
                break
            for name in done:
                done[name] += answer[name]
            bars.advance(bar, answer["matched"])
            token = answer["next_page_token"]
            if token is None:
                break
    words = {"notified": "running and notified", "skipped": "ended or started meanwhile"}
    others = [f"{done[name]} {text}" for name, text in words.items() if done[name]]
    terminal.say("; ".join([f"cancelled {_tasks(done['cancelled'])}", *others]))
    if problem:
        terminal.say(f"[red]broken off[/]: {escape(problem)}; the same command goes on with what is left")
    return FAILED if problem else OK


def _preview(api: Client, path: str, chosen: Document) -> tuple[int, list[Document], int | None]:
    """How many tasks match, the first of them, and how many messages wait where there may be more."""
    matched, samples, token = 0, list[Document](), None
    while True:
        page = api.post(path, {**chosen, "dry_run": True, "page_size": _COUNTED, "page_token": token})
        matched += page["matched"]
        samples = samples or page["samples"]
        token = page["next_page_token"]
        if token is None:
            return matched, samples, page["waiting"]


def _show(samples: Sequence[Document], terminal: Terminal) -> None:
    if samples:
        terminal.table(
            ("task", "type", "queue", "status", "submitted"),
            (
                (
                    escape(task["task_id"]),
                    escape(task["task_type"]),
                    task["queue"],
                    status(task["status"]),
                    _ago(task["submitted_at"]),
                )
                for task in samples
            ),
        )


def _named(names: Sequence[str], verb: str) -> Sequence[str]:
    if not names:
        raise ConfigError(f"which one? ./invoke queue {verb} NAME (./invoke queue list shows the names)")
    return names


def _state(queue: Document) -> str:
    return f"[yellow]paused[/] {_ago(queue['paused_at'])}" if queue["paused_at"] else "runs"


def _ago(text: str) -> str:
    at = units.moment(text)
    return "?" if at is None else f"{units.age(at, now=now())} ago"


def _figure(value: int | None) -> str:
    return "?" if value is None else str(value)


def _tasks(number: int) -> str:
    return f"{number} task" if number == 1 else f"{number} tasks"
