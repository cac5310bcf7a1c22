"""The commands: `./invoke --list`. Each is a few lines; what they do is in local/ and cloud/."""

from __future__ import annotations

import sys
from typing import Any

from invoke import Context, task

from local.backend import UpOptions

#: `uv pip compile` with the options of both lock files: every version pinned with its hashes, for every platform, and
#: no index address in them.
_COMPILE = (
    "uv pip compile --quiet pyproject.toml --universal --generate-hashes --no-emit-index-url --no-emit-find-links "
    "--no-header --no-annotate"
)


def _run(command: Any, *arguments: Any, **options: Any) -> None:
    """Run a command of local/ or cloud/ and end with its exit code."""
    from local.commands import exit_code

    sys.exit(exit_code(command, *arguments, **options))


@task(
    help={
        "backend": "which backend to take; without it the best one that works here",
        "foreground": "stay, show the logs, stop at Ctrl-C",
        "workers": "how many worker processes (1)",
        "api_port": "the API's port (8080 if it is free, else any)",
        "pubsub_port": "the Pub/Sub emulator's port (any)",
        "storage_port": "the storage server's port (any)",
        "timeout": "longest time until all is ready, in seconds (60)",
    }
)
def up(
    c: Context,
    backend: str | None = None,
    foreground: bool = False,
    workers: int = 1,
    api_port: int = 0,
    pubsub_port: int = 0,
    storage_port: int = 0,
    timeout: int = 60,
) -> None:
    """Start the local stack; returns when all of it is ready."""
    from local import commands

    options = UpOptions(
        workers=workers,
        api_port=api_port or None,
        pubsub_port=pubsub_port or None,
        storage_port=storage_port or None,
        timeout_s=timeout,
        attached=foreground,
    )
    _run(commands.up, backend=backend, foreground=foreground, options=options)


@task(help={"volumes": "delete the objects that the backend compose keeps for the next stack"})
def down(c: Context, volumes: bool = False) -> None:
    """Stop the local stack."""
    from local import commands

    _run(commands.down, volumes=volumes)


@task(help={"stand_ins": "make the stand-ins anew, whatever could be pulled"})
def images(c: Context, stand_ins: bool = False) -> None:
    """Pull or make all that the backend compose needs; afterwards it works without a network."""
    from local import images

    _run(images.command, stand_ins=stand_ins)


@task(
    help={"wanted": "SERVICE=NUMBER: worker=3, or with containers one queue's, worker-default=3"}, positional=["wanted"]
)
def scale(c: Context, wanted: str) -> None:
    """Run another number of workers in the stack that is up."""
    from local import commands

    _run(commands.scale, wanted)


@task
def status(c: Context) -> None:
    """Show the services of the local stack and what waits in its queues."""
    from local import commands

    _run(commands.status)


@task(
    help={
        "service": "such as api or worker; without it all of them",
        "follow": "stay and show new lines",
        "lines": "how many lines of each to begin with (50)",
        "raw": "the lines as they were written (JSON)",
    },
)
def logs(c: Context, service: str = "", follow: bool = False, lines: int = 50, raw: bool = False) -> None:
    """Show the logs of the local stack."""
    from local import commands

    _run(commands.show_logs, service or None, follow=follow, lines=lines, raw=raw)


@task(help={"backend": "which backend to start where no stack is up"})
def e2e(c: Context, backend: str | None = None) -> None:
    """Run the whole pipeline on real files and check everything that comes out."""
    from local.e2e.main import run

    _run(run, backend=backend)


@task
def test(c: Context) -> None:
    """Run all tests; `./invoke test -- tests/unit -k name` hands the rest to pytest."""
    from local import commands

    arguments = " ".join(map(repr, commands.pytest_arguments(c.remainder)))
    sys.exit(c.run(f"{sys.executable} -m pytest {arguments}", pty=sys.stdout.isatty(), warn=True).return_code)


@task
def check(c: Context) -> None:
    """Check format, lint and types."""
    for command in ("ruff format --check --quiet .", "ruff check --quiet .", "mypy"):
        c.run(f"{sys.executable} -m {command}", pty=sys.stdout.isatty())


@task(help={"name": "which measurement; without it they are listed"})
def bench(c: Context, name: str = "") -> None:
    """Measure; `./invoke bench -n NAME -- ARGUMENTS` hands the rest to the measurement."""
    from local import commands

    _run(commands.bench, name, c.remainder)


@task
def lock(c: Context) -> None:
    """Remake requirements.lock and requirements-dev.lock from pyproject.toml."""
    for options in ("-o requirements.lock", "--group dev -o requirements-dev.lock"):
        c.run(f"{sys.executable} -m {_COMPILE} {options}")
