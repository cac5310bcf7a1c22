"""The commands: `./invoke --list`. Each is a few lines: it imports what it needs, so that the others start fast."""

from __future__ import annotations

import sys
from typing import Any

from invoke import Collection, Context, Task, task
from invoke.main import program

from poolhouse.commands import free_arguments
from poolhouse.local.backend import UpOptions


def _run(command: Any, *arguments: Any, **options: Any) -> None:
    """Run a command of local/ or cloud/ and end with its exit code."""
    from poolhouse.commands.stack import exit_code
    from poolhouse.local import dotenv

    dotenv.load()
    sys.exit(exit_code(command, *arguments, **options))


@task(
    help={
        "backend": "which backend to take; without it the best one that works here",
        "foreground": "stay, show the logs, stop at Ctrl-C",
        "reload": "saved code is live within two seconds; tasks in hand end on the old code",
        "keep": "queues and objects outlive the stack, for the next up --keep; down --volumes deletes them",
        "workers": "how many worker processes (1)",
        "autoscale": "instead of a fixed number, each queue's workers follow its backlog, as on Google Cloud",
        "scale_down_after": "with --autoscale: how long fewer must be enough, in seconds (120)",
        "api_port": "the API's port (8080 if it is free, else any)",
        "pubsub_port": "the Pub/Sub emulator's port (any)",
        "storage_port": "the storage server's port (any)",
        "console_port": "the console's port (8081 if it is free, else any)",
        "pubsub": "with containers, the Pub/Sub emulator: poolhouse (ours), or google for a second opinion",
        "timeout": "longest time until all is ready, in seconds (60)",
    }
)
def up(
    c: Context,
    backend: str | None = None,
    foreground: bool = False,
    reload: bool = False,
    keep: bool = False,
    workers: int = 1,
    autoscale: bool = False,
    scale_down_after: int = 0,
    api_port: int = 0,
    pubsub_port: int = 0,
    storage_port: int = 0,
    console_port: int = 0,
    pubsub: str | None = None,
    timeout: int = 60,
) -> None:
    """Start the local stack; returns when all of it is ready."""
    from poolhouse.commands import stack as commands

    options = UpOptions(
        workers=workers,
        api_port=api_port or None,
        pubsub_port=pubsub_port or None,
        storage_port=storage_port or None,
        console_port=console_port or None,
        timeout_s=timeout,
        attached=foreground,
        reload=reload,
        keep=keep,
        autoscale=autoscale,
        scale_down_after_s=scale_down_after or None,
        pubsub=pubsub,
    )
    _run(commands.up, backend=backend, foreground=foreground, options=options)


@task(
    help={"volumes": "delete what is kept for the next stack: up --keep's queues and objects, the volumes of compose"}
)
def down(c: Context, volumes: bool = False) -> None:
    """Stop the local stack."""
    from poolhouse.commands import stack as commands

    _run(commands.down, volumes=volumes)


@task(help={"stand_ins": "make the stand-ins anew, whatever could be pulled"})
def images(c: Context, stand_ins: bool = False) -> None:
    """Pull or make all that the backend compose needs; afterwards it works without a network."""
    from poolhouse.local.compose import images

    _run(images.command, stand_ins=stand_ins)


@task
def compose_file(c: Context) -> None:
    """Bring docker-compose.yml up to date with pipeline.toml: one worker service for each queue, with its limits."""
    from poolhouse.local.compose import workers as compose_workers

    _run(compose_workers.renew)


@task(
    help={"wanted": "SERVICE=NUMBER: worker=3, or with containers one queue's, worker-default=3"}, positional=["wanted"]
)
def scale(c: Context, wanted: str) -> None:
    """Run another number of workers in the stack that is up."""
    from poolhouse.commands import stack as commands

    _run(commands.scale, wanted)


@task(
    help={
        "project": "of the deployed pipeline, instead of the local stack (or `project` in pipeline.toml, with --stage)",
        "stage": "which stage of it, of those in pipeline.toml",
    }
)
def status(c: Context, project: str = "", stage: str = "") -> None:
    """Show the services and what waits in the queues."""
    if project or stage:
        from poolhouse.commands import cloud as deployed

        _run(deployed.status, project=project, stage=stage)
    from poolhouse.commands import stack as commands

    _run(commands.status)


@task(help={"format": 'shell, for `eval "$(./invoke env)"`; dotenv, for a .env file; or json (shell)'})
def env(c: Context, format: str = "shell") -> None:
    """Print the environment variables under which other programs use the stack that is up."""
    from poolhouse.commands import stack as commands

    _run(commands.show_environment, format)


@task(
    help={
        "open": "open it in the browser",
        "port": "of a console that is started here (8081 if it is free, else any)",
        "project": "of the deployed pipeline, instead of the local stack (or `project` in pipeline.toml, with --stage)",
        "stage": "which stage of it, of those in pipeline.toml",
    }
)
def console(c: Context, open: bool = False, port: int = 0, project: str = "", stage: str = "") -> None:
    """Show where the console of the stack is, its web page; with containers or --project run it, until Ctrl-C."""

    def run() -> int:
        from poolhouse.local.console import command

        if not (project or stage):
            return command.show(port=port or None, open_it=open)
        from poolhouse.commands import cloud as deployed
        from poolhouse.local.console.stacks import Deployed

        there = deployed.access(project=project, stage=stage)
        return command.run(Deployed(there.project, there.url, there.token), port=port or None, open_it=open)

    _run(run)


@task(
    help={
        "service": "such as api or worker; without it all of them",
        "follow": "stay and show new lines",
        "lines": "how many lines of each to begin with (50)",
        "raw": "the lines as they were written (JSON)",
        "project": "of the deployed pipeline, instead of the local stack (or `project` in pipeline.toml, with --stage)",
        "stage": "which stage of it, of those in pipeline.toml",
    },
)
def logs(
    c: Context,
    service: str = "",
    follow: bool = False,
    lines: int = 50,
    raw: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Show the logs."""
    if project or stage:
        from poolhouse.commands import cloud as deployed

        _run(deployed.logs, project=project, stage=stage, service=service, lines=lines, follow=follow)
    from poolhouse.commands import stack as commands

    _run(commands.show_logs, service or None, follow=follow, lines=lines, raw=raw)


@task(
    help={
        "backend": "which backend to start where no stack is up",
        "quick": "a few tasks only: a file, a table, a duplicate, a dead letter",
        "pubsub": "with containers, the Pub/Sub emulator of that stack: poolhouse or google",
        "project": "of the deployed pipeline, instead of the local stack (or `project` in pipeline.toml, with --stage)",
        "stage": "which stage of it, of those in pipeline.toml",
    }
)
def e2e(
    c: Context,
    backend: str | None = None,
    pubsub: str | None = None,
    quick: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Run the whole pipeline on real files and check everything that comes out."""
    if project or stage:
        from poolhouse.commands import cloud as deployed

        _run(deployed.run_e2e, project=project, stage=stage)
    from poolhouse.local.e2e.main import run

    _run(run, backend=backend, pubsub=pubsub, quick=quick)


@task
def test(c: Context) -> None:
    """Run all tests; `./invoke test -- tests/unit -k name` hands the rest to pytest."""
    from poolhouse.commands import stack as commands

    _run(commands.test, c.remainder)


@task
def check(c: Context) -> None:
    """Check format, lint and types."""
    from poolhouse.commands import stack as commands

    _run(commands.check)


@task(
    help={
        "minutes": "how long; at least one round of about two minutes (5)",
        "seed": "of the first round (0: a random one)",
        "tasks": "of one round (2000)",
        "verbose": "tell each kill and fault",
    }
)
def chaos(c: Context, minutes: float = 5.0, seed: int = 0, tasks: int = 2000, verbose: bool = False) -> None:
    """Kill workers, restart the API, let servers fail, and prove that no task is lost and none done twice."""
    from poolhouse.local.chaos.command import chaos

    _run(chaos, minutes=minutes, seed=seed or None, tasks=tasks, verbose=verbose)


@task(help={"name": "which measurement; without it they are listed"})
def bench(c: Context, name: str = "") -> None:
    """Measure; `./invoke bench -n NAME -- ARGUMENTS` hands the rest to the measurement."""
    from poolhouse.commands import stack as commands

    _run(commands.bench, name, c.remainder)


@task
def lock(c: Context) -> None:
    """Remake requirements.lock and requirements-dev.lock from pyproject.toml."""
    from poolhouse.commands import lock as locks

    _run(locks.run)


@task(positional=["to"], help={"to": "a version of Poolhouse on the package index, or the path of its wheel"})
def upgrade(c: Context, to: str) -> None:
    """Move this project to another version of Poolhouse; files that you edited are shown, never overwritten."""
    from poolhouse.commands import upgrade as upgrading

    _run(upgrading.run, to)


_CLOUD = {
    "project": "id of the Google Cloud project; without it, `project` under [deploy] in pipeline.toml",
    "stage": "which stage of pipeline.toml",
}


@task(
    help={
        **_CLOUD,
        "dry_run": "show the plan, the commands and the files; change nothing",
        "yes": "do not ask",
        "prune": "also remove what pipeline.toml does not want any more",
    }
)
def deploy(
    c: Context, project: str = "", stage: str = "", dry_run: bool = False, yes: bool = False, prune: bool = False
) -> None:
    """Bring the pipeline to Google Cloud as [deploy] says, or bring what is there up to date."""
    from poolhouse.commands import cloud as commands

    _run(commands.run_deploy, project=project, stage=stage, dry_run=dry_run, yes=yes, prune=prune)


@task(
    help={
        **_CLOUD,
        "delete_bucket": "delete the bucket too, with every file, result and record in it",
        "yes": "do not ask; for previews alone (stages of a pattern)",
    }
)
def destroy(c: Context, project: str = "", stage: str = "", delete_bucket: bool = False, yes: bool = False) -> None:
    """Remove from Google Cloud what deploys of this stage made, and nothing else."""
    from poolhouse.commands import cloud as commands

    _run(commands.run_destroy, project=project, stage=stage, delete_bucket=delete_bucket, yes=yes)


@task(
    positional=["action"],
    iterable=["word"],
    help={
        **_CLOUD,
        "action": "list, or set; then the name of the variable: the value is asked for, or read from standard input",
        "word": "what stands free on the command line: no need to write --word",
    },
)
def secret(c: Context, action: str, word: list[str], project: str = "", stage: str = "") -> None:
    """Secrets of pipeline.toml on Google Cloud: list, set NAME."""
    from poolhouse.commands import cloud as commands

    match action, word:
        case "list", []:
            _run(commands.list_secrets, project=project, stage=stage)
        case "set", [name]:
            _run(commands.set_secret, name=name, project=project, stage=stage)
        case _:
            sys.exit("secret list, or secret set NAME")


@task(help=_CLOUD)
def releases(c: Context, project: str = "", stage: str = "") -> None:
    """List the images that can be gone back to, and which of them runs."""
    from poolhouse.commands import cloud as commands

    _run(commands.list_releases, project=project, stage=stage)


@task(
    positional=[],
    iterable=["word"],
    help={
        **_CLOUD,
        "word": "how many releases back (1), or the tag of one; no need to write --word",
        "dry_run": "show the plan; change nothing",
        "yes": "do not ask",
    },
)
def rollback(
    c: Context, word: list[str], project: str = "", stage: str = "", dry_run: bool = False, yes: bool = False
) -> None:
    """Run an earlier image again, in the API and all workers."""
    from poolhouse.commands import cloud as commands

    _run(commands.rollback, to=" ".join(word) or "1", project=project, stage=stage, dry_run=dry_run, yes=yes)


@task(help={"project": _CLOUD["project"]})
def stages(c: Context, project: str = "") -> None:
    """List the stages of pipeline.toml, and what of them is deployed in the project."""
    from poolhouse.commands import cloud as commands

    _run(commands.stages, project=project)


@task(
    help={
        "workers": "pool or job",
        "autoscale": "with the autoscaler",
        "fault": "what goes wrong: busy, unavailable, lost-answers, conflict",
        "requests": "list every request of the first deploy",
    }
)
def rehearse(
    c: Context, workers: str = "pool", autoscale: bool = False, fault: str = "", requests: bool = False
) -> None:
    """Deploy, deploy again and destroy with the real gcloud against a played Google Cloud: no network, no cost."""
    from poolhouse.commands import cloud as commands

    _run(commands.rehearse, workers=workers, autoscale=autoscale, fault=fault, requests=requests)


@task(
    help={
        "tasks_per_day": "tasks submitted in a day",
        "seconds": "time that a task takes",
        "stage": "which stage of pipeline.toml",
    }
)
def cost(c: Context, tasks_per_day: float, seconds: float, stage: str = "") -> None:
    """Estimate a month on Google Cloud, pools against jobs."""
    from poolhouse.commands import cloud as commands

    _run(commands.estimate, tasks_per_day=float(tasks_per_day), seconds=float(seconds), stage=stage)


@task(
    help={
        **_CLOUD,
        "repo": "ORG/REPO on GitHub",
        "environment": "GitHub environment that a deploy must run in: its rules say who approves (the stage's name)",
        "ref": "branch or tag that it must run for, such as refs/tags/v* (the stage's `ref`; refs/heads/main)",
        "repo_id": "number of the repository, where it is private: `gh api repos/ORG/REPO --jq .id`",
        "owner_id": "number of its owner: `gh api repos/ORG/REPO --jq .owner.id`",
        "yes": "do not ask",
    }
)
def github_oidc(
    c: Context,
    repo: str,
    project: str = "",
    stage: str = "",
    environment: str = "",
    ref: str = "",
    repo_id: int = 0,
    owner_id: int = 0,
    yes: bool = False,
) -> None:
    """Let a GitHub repository deploy a stage without a key, and write the workflows of all stages."""
    from poolhouse.commands import cloud as commands

    _run(
        commands.github_oidc,
        project=project,
        repo=repo,
        stage=stage,
        environment=environment,
        ref=ref,
        repo_id=repo_id,
        owner_id=owner_id,
        yes=yes,
    )


def _call(command: Any, *arguments: Any, project: str, stage: str, **options: Any) -> None:
    """Run a command on the API of the local stack, or of the deployed pipeline; end with its exit code."""

    def run() -> int:
        from poolhouse.client.client import Client
        from poolhouse.local.stack_api import stack_api

        if not (project or stage):
            with stack_api() as api:
                return int(command(api, *arguments, **options))
        from poolhouse.commands import cloud as deployed

        there = deployed.access(project=project, stage=stage)
        with Client(there.url, token=there.token) as api:
            return int(command(api, *arguments, **options))

    _run(run)


_DEPLOYED = {
    "project": "of the deployed pipeline, instead of the local stack (or `project` in pipeline.toml, with --stage)",
    "stage": "which stage of it, of those in pipeline.toml",
}
_WORDS = {"word": "what stands free on the command line: no need to write --word"}


@task(
    positional=["type"],
    iterable=["word"],
    help={
        **_DEPLOYED,
        **_WORDS,
        "type": "the task type; then key=value for the fields of its payload",
        "file": "upload this file first and name it in the payload (field=PATH where several fields name files)",
        "wait": "wait for the end and print the result; exit code 1 unless it succeeds",
        "watch": "the same, and tell on the way what happens",
        "output": "save the result there",
        "queue": "instead of the task type's own",
    },
)
def submit(
    c: Context,
    type: str,
    word: list[str],
    file: str = "",
    wait: bool = False,
    watch: bool = False,
    output: str = "",
    queue: str = "",
    project: str = "",
    stage: str = "",
) -> None:
    """Submit a task of TYPE, with key=value for each field of its payload."""
    from poolhouse.commands import calls as commands
    from poolhouse.commands.submit import Submission

    submission = Submission(
        task_type=type, words=tuple(word), file=file, wait=wait, watch=watch, output=output, queue=queue
    )
    _call(commands.submit, submission, project=project, stage=stage)


@task(
    positional=[],
    iterable=["word"],
    help={
        **_DEPLOYED,
        **_WORDS,
        "status": "only tasks of this status: queued, running, succeeded, failed, cancelled, dead",
        "type": "only tasks of this type",
        "queue": "only tasks of this queue",
        "limit": "how many (20)",
        "json": "one JSON object a line",
    },
)
def tasks(
    c: Context,
    word: list[str],
    status: str = "",
    type: str = "",
    queue: str = "",
    limit: int = 20,
    json: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """List the tasks that workers have touched; with an ID, show that one."""
    from poolhouse.commands import calls as commands

    chosen = {"status": status, "task_type": type, "queue": queue, "limit": limit, "as_json": json}
    _call(commands.tasks, word, **chosen, project=project, stage=stage)


@task(
    positional=["action"],
    iterable=["word"],
    help={
        **_DEPLOYED,
        **_WORDS,
        "action": "list, show, replay or discard; then IDs, and for a replay key=value to change the payload",
        "type": "only of this task type",
        "queue": "only of this queue",
        "reason": "only with this text in the reason",
        "older": "only dead for so long: 90s, 15m, 2h, 3d",
        "newer": "only dead for no longer",
        "all": "replay or discard all of them",
        "payload": "replay with this payload (JSON)",
        "edit": "replay with the payload as you leave it in your editor",
        "rate": "replay or discard no faster: 10/s, 100/m",
        "limit": "how many to list (50)",
        "yes": "do not ask before a discard",
        "json": "one JSON object a line",
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
    json: bool = False,
    project: str = "",
    stage: str = "",
) -> None:
    """Dead letters: list, show ID, replay ID … [key=value …], discard ID …; or by --type, --reason, --older, --all."""
    from poolhouse.commands import calls as commands

    chosen = {"task_type": type, "queue": queue, "reason": reason, "older": older, "newer": newer, "everything": all}
    how = {"payload": payload, "edit": edit, "rate": rate, "limit": limit, "yes": yes, "as_json": json}
    _call(commands.dlq, action, word, **chosen, **how, project=project, stage=stage)


@task(
    positional=["action"],
    iterable=["word"],
    help={
        **_DEPLOYED,
        **_WORDS,
        "action": "list, run, pause or resume; then the names of schedules",
        "json": "one JSON object a line",
    },
)
def schedule(c: Context, action: str, word: list[str], json: bool = False, project: str = "", stage: str = "") -> None:
    """Schedules of pipeline.toml: list, run NAME, pause NAME, resume NAME."""
    from poolhouse.commands import calls as commands

    _call(commands.schedule, action, word, as_json=json, project=project, stage=stage)


@task(
    positional=["path"],
    help={"path": "the new project's folder", "name": "of the project and its pipeline (the folder's name)"},
)
def new_project(c: Context, path: str, name: str = "") -> None:
    """Write a new project that has this kit as a dependency."""
    from pathlib import Path

    from poolhouse.commands import program

    _run(program.new, Path(path), name=name or None)


@task(help={"folder": "where they go (dist)"})
def build(c: Context, folder: str = "dist") -> None:
    """Build both distributions, wheel and sdist, and check them."""
    from pathlib import Path

    from poolhouse.commands import wheels

    _run(wheels.build_all, Path(folder))


@task(help={"name": "the task type, such as make_report", "queue": "of its tasks, instead of the default one"})
def new_task(c: Context, name: str, queue: str = "") -> None:
    """Write a new task type: handler, payload model, test, and a line in the README."""
    from poolhouse.commands import new_task as writing

    _run(writing.run, name, queue=queue)


#: Commands that only the kit's own repository has.
OF_THE_KIT = frozenset({"chaos", "bench", "new_project", "build"})


def collection(*, of_the_kit: bool = False) -> Collection:
    """Return the kit's commands, for a project's tasks.py to add its own to with `add_task`.

    Args:
        of_the_kit: with the commands that only the kit's own repository has.
    """
    free_arguments.install(program, submit, tasks, dlq, schedule, secret, rollback)
    found = [value for name, value in globals().items() if isinstance(value, Task)]
    return Collection(*(task for task in found if of_the_kit or task.name not in OF_THE_KIT))
