"""The pipeline on Google Cloud: deploy it, operate it, remove it."""

from __future__ import annotations

import sys

from invoke import Context, Exit

from poolhouse.commands.invoke_tasks.running import CLOUD, WORDS, command, run
from poolhouse.pipeline import numbers
from poolhouse.pipeline.exit_codes import USAGE


@command(
    help={
        **CLOUD,
        "dry_run": "print the plan, the commands and the files; change nothing",
        "yes": "skip the confirmation",
        "prune": "also remove resources that are no longer in pipeline.toml",
        "canary": "percent of requests and worker instances that the new release gets at first, or 0 (as declared)",
        "watch": "how long to compare it with the release before, such as 10m (as declared)",
    }
)
def deploy(
    c: Context,
    project: str = "",
    stage: str = "",
    dry_run: bool = False,
    yes: bool = False,
    prune: bool = False,
    canary: str = "",
    watch: str = "",
) -> None:
    """Create or update the pipeline on Google Cloud, as [deploy] in pipeline.toml declares it."""
    from poolhouse.commands import cloud as commands

    run(
        commands.run_deploy,
        project=project,
        stage=stage,
        dry_run=dry_run,
        yes=yes,
        prune=prune,
        canary=canary,
        watch=watch,
    )


@command(
    help={
        **CLOUD,
        "delete_bucket": "also delete the bucket with every file, result and record",
        "yes": "skip the confirmation; for preview stages only (pattern stages such as pr-*)",
    }
)
def destroy(c: Context, project: str = "", stage: str = "", delete_bucket: bool = False, yes: bool = False) -> None:
    """Remove from Google Cloud what deploys of this stage created, and nothing else."""
    from poolhouse.commands import cloud as commands

    run(commands.run_destroy, project=project, stage=stage, delete_bucket=delete_bucket, yes=yes)


@command(
    positional=["action"],
    iterable=["word"],
    help={
        **CLOUD,
        "action": "list, or set NAME; set prompts for the value or reads it from standard input",
        **WORDS,
        "json": "print one JSON object per line",
    },
)
def secret(c: Context, action: str, word: list[str], json: bool = False, project: str = "", stage: str = "") -> None:
    """List the secrets of pipeline.toml on Google Cloud, or set one: secret list, secret set NAME."""
    from poolhouse.commands import cloud as commands

    match action, word:
        case "list", []:
            run(commands.list_secrets, project=project, stage=stage, as_json=json)
        case "set", [name]:
            run(commands.set_secret, name=name, project=project, stage=stage)
        case _:
            sys.exit("secret list, or secret set NAME")


@command(help={**CLOUD, "json": "print one JSON object per line"})
def releases(c: Context, json: bool = False, project: str = "", stage: str = "") -> None:
    """List the released images and which of them run."""
    from poolhouse.commands import cloud as commands

    run(commands.list_releases, project=project, stage=stage, as_json=json)


@command(
    positional=[],
    iterable=["word"],
    help={
        **CLOUD,
        "word": "number of releases to go back (1), or the tag of one; --word itself is never needed",
        "dry_run": "print the plan; change nothing",
        "yes": "skip the confirmation",
    },
)
def rollback(
    c: Context, word: list[str], project: str = "", stage: str = "", dry_run: bool = False, yes: bool = False
) -> None:
    """Take a canary back, or put API and workers back on an earlier image: rollback, rollback 2, rollback TAG."""
    from poolhouse.commands import cloud as commands

    run(commands.rollback, to=" ".join(word), project=project, stage=stage, dry_run=dry_run, yes=yes)


@command(help={"project": CLOUD["project"], "json": "print one JSON object per line"})
def stages(c: Context, json: bool = False, project: str = "") -> None:
    """List the stages of pipeline.toml and which are deployed."""
    from poolhouse.commands import cloud as commands

    run(commands.stages, project=project, as_json=json)


@command(
    help={
        "workers": "pool or job (pool)",
        "autoscale": "include the autoscaler",
        "fault": "inject one: busy, unavailable, lost-answers, conflict, build-region, no-worker-pools or stuck-worker",
        "constraint": "enforce an organisation policy, such as gcp.resourceLocations; an unknown name lists all",
        "requests": "print every request of the first deploy",
    }
)
def rehearse(
    c: Context,
    workers: str = "pool",
    autoscale: bool = False,
    fault: str = "",
    constraint: str = "",
    requests: bool = False,
) -> None:
    """Deploy twice and destroy with the real gcloud against a simulated Google Cloud: no network, no cost."""
    from poolhouse.commands import cloud as commands

    run(
        commands.rehearse,
        workers=workers,
        autoscale=autoscale,
        fault=fault,
        constraint=constraint,
        requests=requests,
    )


@command(
    help={
        "tasks_per_day": "tasks per day",
        "seconds": "seconds that one task takes",
        "stage": "which stage of pipeline.toml",
        "json": "print JSON",
    }
)
def cost(c: Context, tasks_per_day: float, seconds: float, stage: str = "", json: bool = False) -> None:
    """Estimate the monthly cost on Google Cloud, worker pools compared with jobs."""
    from poolhouse.commands import cloud as commands

    figures = {"tasks_per_day": _number("tasks-per-day", tasks_per_day), "seconds": _number("seconds", seconds)}
    run(commands.estimate, **figures, stage=stage, as_json=json)


def _number(name: str, value: float | str) -> float:
    """An argument without a default, which pyinvoke hands over as text."""
    try:
        return numbers.number(str(value))
    except ValueError:
        raise Exit(f"invoke: cost --{name} takes a number, not {value!r}", code=USAGE) from None


@command(
    help={
        **CLOUD,
        "repo": "ORG/REPO on GitHub",
        "repo_id": "numeric id of a private repository: `gh api repos/ORG/REPO --jq .id`",
        "owner_id": "numeric id of its owner: `gh api repos/ORG/REPO --jq .owner.id`",
        "yes": "skip the confirmation",
    }
)
def github_oidc(
    c: Context,
    repo: str,
    project: str = "",
    stage: str = "",
    repo_id: int = 0,
    owner_id: int = 0,
    yes: bool = False,
) -> None:
    """Let a GitHub repository deploy a stage without a key, and write the workflows of all stages."""
    from poolhouse.commands import cloud as commands

    run(
        commands.github_oidc,
        project=project,
        repo=repo,
        stage=stage,
        repo_id=repo_id,
        owner_id=owner_id,
        yes=yes,
    )
