"""The project: its tests, checks, dependencies and new files."""

from __future__ import annotations

from invoke import Context

from poolhouse.commands.invoke_tasks.running import DEPLOYED, command, run


@command(
    help={
        "backend": "backend to start if no stack is running: embedded or compose",
        "quick": "run a small selection: a file, a table, a duplicate, a dead letter",
        "pubsub": "Pub/Sub emulator of the compose backend: poolhouse or google",
        **DEPLOYED,
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
    """Run the whole pipeline on real files and verify every result."""
    if project or stage:
        from poolhouse.commands import cloud as deployed

        run(deployed.run_e2e, project=project, stage=stage)
    from poolhouse.local.e2e import main

    run(main.run, backend=backend, pubsub=pubsub, quick=quick)


@command(help={"all": "run everything below tests/, not only the testpaths of pyproject.toml"})
def test(c: Context, all: bool = False) -> None:  # noqa: PT028 - a command, not a test
    """Run the tests; arguments after -- go to pytest: `./invoke test -- tests/unit -k name`."""
    from poolhouse.commands.project import checks

    run(checks.test, c.remainder, everything=all)


@command()
def check(c: Context) -> None:
    """Check format, lint and types."""
    from poolhouse.commands.project import checks

    run(checks.check)


@command()
def audit(c: Context) -> None:
    """Look up known vulnerabilities of the locked packages; arguments after -- go to pip-audit."""
    from poolhouse.commands.project import audit as auditing

    run(auditing.run, c.remainder)


@command(
    help={
        "minutes": "duration; at least one round of about two minutes is run (5)",
        "seed": "random seed of the first round (0: chosen at random)",
        "tasks": "tasks per round (2000)",
        "gcs_limits": "take changes of objects at the rates of Cloud Storage only",
        "verbose": "log each kill and injected fault",
    }
)
def chaos(
    c: Context,
    minutes: float = 5.0,
    seed: int = 0,
    tasks: int = 2000,
    gcs_limits: bool = False,
    verbose: bool = False,
) -> None:
    """Kill workers, restart the API and inject faults; verify that no task is lost and none completes twice."""
    from poolhouse.local.chaos.command import chaos

    run(chaos, minutes=minutes, seed=seed or None, tasks=tasks, gcs_limits=gcs_limits, verbose=verbose)


@command(help={"name": "name of the benchmark (default: list them)"})
def bench(c: Context, name: str = "") -> None:
    """Run a benchmark; arguments after -- go to it: `./invoke bench --name NAME -- ARGUMENTS`."""
    from poolhouse.commands.project import checks

    run(checks.bench, name, c.remainder)


@command(help={"name": "name of the module (default: list them)"})
def mutants(c: Context, name: str = "") -> None:
    """Print the small changes of a module that no test notices; after -- patterns of mutants, to test these alone."""
    from poolhouse.commands.project import mutants as mutation_tests

    run(mutation_tests.run, name, c.remainder)


@command()
def lock(c: Context) -> None:
    """Resolve pyproject.toml into requirements.lock and requirements-dev.lock."""
    from poolhouse.commands.project import lock as locks

    run(locks.run)


@command(positional=["to"], help={"to": "version of Poolhouse on the package index, or path of a wheel"})
def upgrade(c: Context, to: str) -> None:
    """Move this project to another version of Poolhouse; edited files are shown as a diff, never overwritten."""
    from poolhouse.commands import upgrade as upgrading

    run(upgrading.run, to)


@command(
    positional=["path"],
    help={
        "path": "folder of the new project",
        "name": "name of the project and its pipeline (the folder's name)",
        "example": "start with the code of an example: thumbnails, nightly_report or webhooks",
    },
)
def new_project(c: Context, path: str, name: str = "", example: str = "") -> None:
    """Create a project that depends on this kit."""
    from pathlib import Path

    from poolhouse import __main__ as program_of_the_kit

    run(program_of_the_kit.new, Path(path), name=name or None, example=example or None)


@command(help={"folder": "output folder (dist)"})
def build(c: Context, folder: str = "dist") -> None:
    """Build and check the wheels and sdists of both distributions."""
    from pathlib import Path

    from poolhouse.commands.project import wheels

    run(wheels.build_all, Path(folder))


@command(help={"name": "name of the task type, such as make_report", "queue": "its queue (the default queue)"})
def new_task(c: Context, name: str, queue: str = "") -> None:
    """Create a task type: handler, payload model, test, and a line in the README."""
    from poolhouse.commands.project import new_task as writing

    run(writing.run, name, queue=queue)


@command(
    positional=["name"],
    help={
        "name": "who gets the key, such as a partner or a service",
        "may": "what it allows: read, submit, operate, or several, separated by commas (submit)",
        "per_minute": "most calls in a minute, of each instance of the API unless share_rates is set (0: any number)",
        "per_day": "most calls in a UTC day, of all instances together (0: any number)",
    },
)
def new_key(c: Context, name: str, may: str = "submit", per_minute: int = 0, per_day: int = 0) -> None:
    """Create an API key: print it once, with the table of pipeline.toml that lets it in."""
    from poolhouse.commands.project import new_key as keys

    run(keys.run, name, may=may, per_minute=per_minute, per_day=per_day)


@command()
def docs(c: Context) -> None:
    """Write docs/pipeline-toml.md from the models and build the documentation site in site/."""
    from poolhouse.commands.project import documentation

    run(documentation.build)


@command()
def completion(c: Context) -> None:
    """Print the completion script of bash and zsh: `eval "$(./invoke completion)"`."""
    from poolhouse.commands import completion as script

    run(script.run)
