"""Tasks, dead letters and schedules, on the local stack or a deployed one."""

from __future__ import annotations

from invoke import Context

from poolhouse.commands.invoke_tasks.running import DEPLOYED, WORDS, call, command


@command(
    positional=["type"],
    iterable=["word"],
    help={
        **DEPLOYED,
        **WORDS,
        "type": "the task type, followed by key=value for each payload field",
        "payload": "the payload as JSON, @FILE, or - for standard input; key=value changes fields of it",
        "file": "upload this file first and name it in the payload (FIELD=PATH if several fields name files)",
        "wait": "wait and print the result; exit code 1 unless the task succeeds",
        "watch": "like --wait, and print status and progress",
        "output": "wait and save the result to this file; - is standard output",
        "queue": "queue to use instead of the task type's own",
        "delay": "run it this much later: 90s, 15m, 2h, 3d",
        "run_at": "run it at this time, which names its zone: 2030-01-31T08:00:00Z",
    },
)
def submit(
    c: Context,
    type: str,
    word: list[str],
    payload: str = "",
    file: str = "",
    wait: bool = False,
    watch: bool = False,
    output: str = "",
    queue: str = "",
    delay: str = "",
    run_at: str = "",
    project: str = "",
    stage: str = "",
) -> None:
    """Submit a task: submit TYPE [key=value …]."""
    from poolhouse.commands.tasks import calls as commands
    from poolhouse.commands.tasks.submit import Submission

    submission = Submission(
        task_type=type,
        words=tuple(word),
        payload=payload,
        file=file,
        wait=wait,
        watch=watch,
        output=output,
        queue=queue,
        delay=delay,
        run_at=run_at,
    )
    call(commands.submit, submission, project=project, stage=stage)


@command(
    positional=[],
    iterable=["word"],
    help={
        **DEPLOYED,
        **WORDS,
        "status": "only this status, or several: failed,dead. scheduled: waits for a time; queued: waits for a worker; "
        "running; succeeded; failed: its handler refused it for good, or its dead letter was discarded; "
        "dead: its attempts are used up; cancelled: by a call. What is failed or dead has a dead letter (./invoke dlq)",
        "type": "only this task type",
        "queue": "only this queue",
        "text": "only with this text, in any case, in the first 200 characters of payload, error or result",
        "id": "only if the id begins so",
        "parent": "only tasks that this task submitted, or that follow its end",
        "group": "only members of the group with this ID",
        "trigger": "only tasks that the trigger of this name submitted",
        "schedule": "only tasks that the schedule of this name submitted",
        "older": "only if submitted at least this long ago: 90s, 15m, 2h, 3d",
        "newer": "only if submitted at most this long ago",
        "limit": "maximum number of tasks (20)",
        "count": "print the number of all such tasks only",
        "json": "print one JSON object per line",
        "follow": "print what happens to the tasks with these IDs until they end (exit code 1 unless they succeed); "
        "without IDs, each task that changes, until Ctrl-C",
        "cancel": "cancel the tasks with these IDs",
        "run_now": "run the scheduled tasks with these IDs now",
        "delay": "move the scheduled tasks with these IDs to this much later than now: 90s, 15m, 2h, 3d",
        "run_at": "move them to this time, which names its zone: 2030-01-31T08:00:00Z",
    },
)
def tasks(
    c: Context,
    word: list[str],
    status: str = "",
    type: str = "",
    queue: str = "",
    text: str = "",
    id: str = "",
    parent: str = "",
    group: str = "",
    trigger: str = "",
    schedule: str = "",
    older: str = "",
    newer: str = "",
    limit: int = 20,
    count: bool = False,
    json: bool = False,
    follow: bool = False,
    cancel: bool = False,
    run_now: bool = False,
    delay: str = "",
    run_at: str = "",
    project: str = "",
    stage: str = "",
) -> None:
    """List tasks, or show, follow, cancel or move some: tasks, tasks ID."""
    from poolhouse.commands.tasks import calls as commands

    chosen = {"status": status, "task_type": type, "queue": queue, "text": text, "id_prefix": id}
    chosen |= {"parent_id": parent, "group_id": group, "trigger": trigger, "schedule": schedule}
    chosen |= {"older": older, "newer": newer}
    shown = {"limit": limit, "count": count, "as_json": json, "follow": follow}
    change = {"cancel": cancel, "run_now": run_now, "delay": delay, "run_at": run_at}
    call(commands.tasks, word, **chosen, **shown, **change, project=project, stage=stage)


@command(
    positional=["id"],
    help={
        **DEPLOYED,
        "id": "the group's id",
        "watch": "show its progress until it has ended; exit code 1 unless its join succeeds",
        "cancel": "cancel it: no further member starts, nor the join",
        "json": "print one JSON object per line",
    },
)
def group(
    c: Context,
    id: str,
    watch: bool = False,
    cancel: bool = False,
    json: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Show a group with its members counted by status, watch or cancel it: group ID."""
    from poolhouse.commands.tasks import calls as commands

    call(commands.group, id, watch=watch, cancel=cancel, as_json=json, project=project, stage=stage)


@command(
    positional=["action"],
    iterable=["word"],
    help={
        **DEPLOYED,
        **WORDS,
        "action": "list, show, replay or discard; followed by IDs, and for replay by key=value to change the payload",
        "type": "only this task type",
        "queue": "only this queue",
        "reason": "only if the reason contains this text",
        "older": "only if dead for at least this long: 90s, 15m, 2h, 3d",
        "newer": "only if dead for at most this long",
        "all": "replay or discard every dead letter",
        "payload": "replace the payload before the replay: JSON, @FILE, or - for standard input",
        "edit": "edit the payload in your editor before the replay",
        "rate": "maximum rate: 10/s, 100/m",
        "limit": "maximum number to list (50)",
        "yes": "skip the confirmation of a discard",
        "dry_run": "count what would be replayed or discarded, show some of it, and change nothing",
        "json": "print one JSON object per line",
    },
)
def dlq(
    c: Context,
    action: str,
    word: list[str],
    type: str = "",
    queue: str = "",
    reason: str = "",
    older: str = "",
    newer: str = "",
    all: bool = False,
    payload: str = "",
    edit: bool = False,
    rate: str = "",
    limit: int = 50,
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Manage dead letters: dlq list, show ID, replay ID [key=value …], discard ID."""
    from poolhouse.commands.tasks import calls as commands

    chosen = {"task_type": type, "queue": queue, "reason": reason, "older": older, "newer": newer, "everything": all}
    how = {
        "payload": payload,
        "edit": edit,
        "rate": rate,
        "limit": limit,
        "yes": yes,
        "dry_run": dry_run,
        "as_json": json,
    }
    call(commands.dlq, action, word, **chosen, **how, project=project, stage=stage)


@command(help={**DEPLOYED, "json": "print the figures once, as JSON"})
def top(c: Context, json: bool = False, project: str = "", stage: str = "") -> None:
    """Watch queues, task types and running tasks; printed once where the output is no terminal."""
    from poolhouse.commands.tasks import calls as commands

    call(commands.top, as_json=json, project=project, stage=stage)


@command(positional=["action"], help={**DEPLOYED, "action": "rebuild", "json": "print JSON"})
def index(c: Context, action: str, json: bool = False, project: str = "", stage: str = "") -> None:
    """Compare the index of tasks, which listings come from, with the records: index rebuild."""
    from poolhouse.commands.tasks import calls as commands

    call(commands.index, action, as_json=json, project=project, stage=stage)


@command(
    positional=["action"],
    iterable=["word"],
    help={
        **DEPLOYED,
        **WORDS,
        "action": "list, run, pause or resume; followed by names of schedules",
        "json": "print one JSON object per line",
    },
)
def schedule(c: Context, action: str, word: list[str], json: bool = False, project: str = "", stage: str = "") -> None:
    """Manage schedules: schedule list, run NAME, pause NAME, resume NAME."""
    from poolhouse.commands.tasks import calls as commands

    call(commands.schedule, action, word, as_json=json, project=project, stage=stage)


@command(help={**DEPLOYED, "json": "print one JSON object per line"})
def limits(c: Context, json: bool = False, project: str = "", stage: str = "") -> None:
    """List the limits that workers share: what is held, and how much waits."""
    from poolhouse.commands.tasks import limits as commands

    call(commands.show, as_json=json, project=project, stage=stage)


@command(help={**DEPLOYED, "json": "print one JSON object per line"})
def quotas(c: Context, json: bool = False, project: str = "", stage: str = "") -> None:
    """List how much of its daily quota each caller of the API has used."""
    from poolhouse.commands.tasks import quotas as commands

    call(commands.show, as_json=json, project=project, stage=stage)


@command(
    positional=["action"],
    iterable=["word"],
    help={
        **DEPLOYED,
        **WORDS,
        "action": "list, pause, resume or purge; followed by names of queues",
        "rate": "maximum rate of a purge: 10/s, 100/m",
        "dry_run": "count what a purge would cancel, show some of it, and change nothing",
        "yes": "skip the confirmation of a purge",
        "json": "print one JSON object per line",
    },
)
def queue(
    c: Context,
    action: str,
    word: list[str],
    rate: str = "",
    dry_run: bool = False,
    yes: bool = False,
    json: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Manage queues: queue list, pause NAME, resume NAME, purge NAME."""
    from poolhouse.commands.tasks import calls as commands

    how = {"rate": rate, "dry_run": dry_run, "yes": yes, "as_json": json}
    call(commands.queue, action, word, **how, project=project, stage=stage)


@command(
    positional=[],
    help={
        **DEPLOYED,
        "status": "only this status: scheduled, queued or running",
        "type": "only this task type",
        "queue": "only this queue",
        "older": "only if submitted at least this long ago: 90s, 15m, 2h, 3d",
        "newer": "only if submitted at most this long ago",
        "all": "cancel every task that has not ended",
        "rate": "maximum rate: 10/s, 100/m",
        "dry_run": "count what would be cancelled, show some of it, and change nothing",
        "yes": "skip the confirmation",
    },
)
def cancel(
    c: Context,
    status: str = "",
    type: str = "",
    queue: str = "",
    older: str = "",
    newer: str = "",
    all: bool = False,
    rate: str = "",
    dry_run: bool = False,
    yes: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Cancel all tasks that match; one by its id: tasks ID --cancel."""
    from poolhouse.commands.tasks import calls as commands

    chosen = {"status": status, "task_type": type, "queue": queue, "older": older, "newer": newer, "everything": all}
    call(commands.cancel, **chosen, rate=rate, dry_run=dry_run, yes=yes, project=project, stage=stage)


@command(
    positional=["action"],
    iterable=["word"],
    help={
        **DEPLOYED,
        **WORDS,
        "action": "list, or backfill followed by the name of a trigger",
        "json": "print one JSON object per line",
        "dry-run": "only count the files that backfill would start tasks for",
    },
)
def trigger(
    c: Context,
    action: str,
    word: list[str],
    json: bool = False,
    dry_run: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Files that start tasks: trigger list, backfill NAME for files that were there before."""
    from poolhouse.commands.tasks import calls as commands

    call(commands.trigger, action, word, as_json=json, dry_run=dry_run, project=project, stage=stage)
