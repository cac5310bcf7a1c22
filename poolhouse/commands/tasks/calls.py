"""What the commands of tasks.py do: their words and options read, the work handed on. Each returns its exit code.

0: done. 1: failed. 2: wrong use.
"""

from __future__ import annotations

from collections.abc import Sequence

from poolhouse.client import units
from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.commands.tasks import dlq as dead_letters
from poolhouse.commands.tasks import group as groups
from poolhouse.commands.tasks import listing, task_events
from poolhouse.commands.tasks import queue as queues
from poolhouse.commands.tasks import schedule as schedules
from poolhouse.commands.tasks import submit as submissions
from poolhouse.commands.tasks import top as watching
from poolhouse.commands.tasks import trigger as triggers
from poolhouse.commands.tasks.dlq import Edit
from poolhouse.commands.tasks.submit import Submission
from poolhouse.commands.terminal import Terminal, now
from poolhouse.pipeline.control.filters import LIVE
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK
from poolhouse.pipeline.nearest import did_you_mean
from poolhouse.pipeline.tasks.records import Status


def submit(api: Client, submission: Submission, *, terminal: Terminal | None = None) -> int:
    """`invoke submit TYPE key=value …`."""
    return submissions.run(api, submission, terminal=terminal or Terminal())


def tasks(
    api: Client,
    words: Sequence[str],
    *,
    status: str = "",
    task_type: str = "",
    queue: str = "",
    text: str = "",
    id_prefix: str = "",
    parent_id: str = "",
    group_id: str = "",
    trigger: str = "",
    schedule: str = "",
    older: str = "",
    newer: str = "",
    limit: int = 20,
    count: bool = False,
    as_json: bool = False,
    follow: bool = False,
    cancel: bool = False,
    run_now: bool = False,
    delay: str = "",
    run_at: str = "",
    terminal: Terminal | None = None,
) -> int:
    """`invoke tasks [ID …]`."""
    terminal = terminal or Terminal()
    timing = submissions.timing(delay, run_at)
    if cancel + run_now + bool(timing) > 1:
        raise ConfigError("--cancel, --run-now and --delay or --run-at: give one of them")
    if cancel or run_now or timing:
        if not words:
            raise ConfigError("which task? ./invoke tasks ID … (./invoke tasks --status scheduled lists them)")
        for task_id in words:
            listing.change(api, task_id, cancel=cancel, timing=timing, terminal=terminal)
        return OK
    if words and follow:
        return max(task_events.follow(api, task_id, as_json=as_json, terminal=terminal) for task_id in words)
    if words:
        return max(listing.show(api, task_id, as_json=as_json, terminal=terminal) for task_id in words)
    for name in filter(None, status.split(",")):
        if name not in set(Status):
            raise ConfigError(f"--status {name!r}: one of {', '.join(Status)}.{did_you_mean(name, Status)}")
    named = {"status": status, "task_type": task_type, "queue": queue, "text": text, "id_prefix": id_prefix}
    named |= {"parent_id": parent_id, "group_id": group_id, "trigger": trigger, "schedule": schedule}
    chosen = _set(named) | _times(older, newer, prefix="submitted")
    if count:
        return listing.count(api, chosen, terminal=terminal)
    if follow:
        return listing.follow_list(api, chosen, as_json=as_json, terminal=terminal)
    limit = units.positive(limit, option="--limit")
    return listing.show_list(api, chosen, limit=limit, as_json=as_json, terminal=terminal)


def group(
    api: Client,
    group_id: str,
    *,
    watch: bool = False,
    cancel: bool = False,
    as_json: bool = False,
    terminal: Terminal | None = None,
) -> int:
    """`invoke group ID`."""
    terminal = terminal or Terminal()
    if cancel and watch:
        raise ConfigError("--cancel and --watch: give one of them")
    if cancel:
        return groups.cancel(api, group_id, terminal=terminal)
    return groups.show(api, group_id, watch=watch, as_json=as_json, terminal=terminal)


def dlq(
    api: Client,
    action: str,
    words: Sequence[str] = (),
    *,
    queue: str = "",
    task_type: str = "",
    reason: str = "",
    older: str = "",
    newer: str = "",
    everything: bool = False,
    payload: str = "",
    edit: bool = False,
    rate: str = "",
    limit: int = 50,
    yes: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
    terminal: Terminal | None = None,
) -> int:
    """`invoke dlq list|show|replay|discard [ID …] [key=value …]`."""
    terminal = terminal or Terminal()
    chosen = _set({"queue": queue, "task_type": task_type, "reason": reason}) | _times(older, newer, prefix="died")
    per_s = units.rate(rate, option="--rate") if rate else None
    changes = tuple(word for word in words if "=" in word)
    ids = [word for word in words if "=" not in word]
    if changes and action != "replay":
        raise ConfigError(f"{changes[0]!r}: only a replay takes key=value")
    match action:
        case "list":
            if ids:
                raise ConfigError(f"list takes no ids; ./invoke dlq show {ids[0]} shows one")
            count = units.positive(limit, option="--limit")
            return dead_letters.show_list(api, chosen, limit=count, as_json=as_json, terminal=terminal)
        case "show":
            return dead_letters.show(api, ids, as_json=as_json, terminal=terminal)
        case "replay" | "discard" if dry_run:
            return dead_letters.dry_run(api, ids, chosen, everything=everything, verb=action, terminal=terminal)
        case "replay":
            change = Edit(words=changes, payload=payload, editor=edit)
            return dead_letters.replay(
                api, ids, chosen, everything=everything, edit=change, rate=per_s, terminal=terminal
            )
        case "discard":
            return dead_letters.discard(api, ids, chosen, everything=everything, yes=yes, rate=per_s, terminal=terminal)
    raise _unknown("dlq", action, "list", "show", "replay", "discard")


def top(api: Client, *, as_json: bool = False, terminal: Terminal | None = None) -> int:
    """`invoke top`."""
    return watching.run(api, as_json=as_json, terminal=terminal or Terminal())


def index(api: Client, action: str, *, as_json: bool = False, terminal: Terminal | None = None) -> int:
    """`invoke index rebuild`."""
    if action != "rebuild":
        raise _unknown("index", action, "rebuild")
    return listing.rebuild(api, as_json=as_json, terminal=terminal or Terminal())


def schedule(
    api: Client, action: str, words: Sequence[str] = (), *, as_json: bool = False, terminal: Terminal | None = None
) -> int:
    """`invoke schedule list|run|pause|resume [NAME …]`."""
    terminal = terminal or Terminal()
    match action:
        case "list":
            return schedules.show_list(api, as_json=as_json, terminal=terminal)
        case "run" | "pause" | "resume":
            return schedules.change(api, action, words, terminal=terminal)
    raise _unknown("schedule", action, "list", "run", "pause", "resume")


def trigger(
    api: Client,
    action: str,
    words: Sequence[str] = (),
    *,
    as_json: bool = False,
    dry_run: bool = False,
    terminal: Terminal | None = None,
) -> int:
    """`invoke trigger list|backfill [NAME]`."""
    terminal = terminal or Terminal()
    match action:
        case "list":
            return triggers.show_list(api, as_json=as_json, terminal=terminal)
        case "backfill":
            if len(words) != 1:
                raise ConfigError("which one? ./invoke trigger backfill NAME (./invoke trigger list shows the names)")
            return triggers.backfill(api, words[0], dry_run=dry_run, terminal=terminal)
    raise _unknown("trigger", action, "list", "backfill")


def queue(
    api: Client,
    action: str,
    words: Sequence[str] = (),
    *,
    rate: str = "",
    dry_run: bool = False,
    yes: bool = False,
    as_json: bool = False,
    terminal: Terminal | None = None,
) -> int:
    """`invoke queue list|pause|resume|purge [NAME …]`."""
    terminal = terminal or Terminal()
    match action:
        case "list":
            return queues.show_list(api, as_json=as_json, terminal=terminal)
        case "pause" | "resume":
            return queues.change(api, action, words, terminal=terminal)
        case "purge":
            per_s = units.rate(rate, option="--rate") if rate else None
            return queues.purge(api, words, dry_run=dry_run, yes=yes, rate=per_s, terminal=terminal)
    raise _unknown("queue", action, "list", "pause", "resume", "purge")


def cancel(
    api: Client,
    *,
    status: str = "",
    task_type: str = "",
    queue: str = "",
    older: str = "",
    newer: str = "",
    everything: bool = False,
    rate: str = "",
    dry_run: bool = False,
    yes: bool = False,
    terminal: Terminal | None = None,
) -> int:
    """`invoke cancel` with filters."""
    if status and status not in LIVE:
        raise ConfigError(f"--status {status!r}: one of {', '.join(sorted(LIVE))}.{did_you_mean(status, LIVE)}")
    chosen = _set({"queue": queue, "task_type": task_type, "all": everything})
    chosen |= _times(older, newer, prefix="submitted") | ({"status": [status]} if status else {})
    per_s = units.rate(rate, option="--rate") if rate else None
    return queues.cancel(api, chosen, dry_run=dry_run, yes=yes, rate=per_s, terminal=terminal or Terminal())


def _set(fields: Document) -> Document:
    return {name: value for name, value in fields.items() if value}


def _times(older: str, newer: str, *, prefix: str) -> Document:
    """The fields of a filter for --older and --newer."""
    return {
        f"{prefix}_{name}": (now() - units.duration(text, option=option)).isoformat()
        for name, text, option in (("before", older, "--older"), ("after", newer, "--newer"))
        if text
    }


def _unknown(command: str, action: str, *known: str) -> ConfigError:
    return ConfigError(f"{command} {action!r}: one of {', '.join(known)}.{did_you_mean(action, known)}")
