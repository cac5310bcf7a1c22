"""How a command is declared and run: options without short flags, a lazy body, an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from invoke import task

#: Help of the options that choose a deployed pipeline instead of the local stack.
DEPLOYED = {
    "project": "id of the Google Cloud project: use the pipeline deployed there, not the local stack",
    "stage": "stage of the deployed pipeline; its project may be in pipeline.toml",
}
#: Help of the options that choose what to deploy.
CLOUD = {
    "project": "id of the Google Cloud project; default: `project` under [deploy] in pipeline.toml",
    "stage": "stage of pipeline.toml; default: the declaration as it stands",
}
#: Help of the option that takes the positional arguments (`poolhouse.commands.command_line`).
WORDS = {"word": "a positional argument; --word itself is never needed"}


def command(
    *, help: Mapping[str, str] | None = None, positional: list[str] | None = None, iterable: list[str] | None = None
) -> Callable[[Callable[..., None]], Any]:
    """Declare a command.

    Args:
        help: a text for each option.
        positional: arguments that need no flag; None: those without a default.
        iterable: options that may be repeated. One called `word` takes all positional arguments that are left over.
    """
    return task(help=dict(help or {}), positional=positional, iterable=iterable, auto_shortflags=False)  # type: ignore[no-any-return]


def run(work: Callable[..., int], *arguments: Any, **options: Any) -> None:
    """Do a command's work and exit with its code."""
    from poolhouse.commands.exit_code import exit_code
    from poolhouse.local import dotenv

    def loaded() -> int:
        dotenv.load()
        return work(*arguments, **options)

    sys.exit(exit_code(loaded))


def call(work: Callable[..., int], *arguments: Any, project: str, stage: str, **options: Any) -> None:
    """Do a command's work on the API of the local stack or of a deployed pipeline, and exit with its code."""

    def connected() -> int:
        from poolhouse.client.client import Client
        from poolhouse.local.stack_api import stack_api

        if not (project or stage):
            return work(stack_api(), *arguments, **options)
        from poolhouse.commands import cloud as deployed

        there = deployed.access(project=project, stage=stage)
        return work(Client(there.url, token=there.token), *arguments, **options)

    run(connected)
