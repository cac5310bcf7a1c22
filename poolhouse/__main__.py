"""The program `poolhouse`: what one does before there is a project. In a project the commands are `./invoke`'s."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from poolhouse.pipeline import kit
from poolhouse.pipeline.errors import ConfigError, PoolhouseError
from poolhouse.pipeline.exit_codes import FAILED, OK, USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return new(options.path, name=options.name, example=options.example)
    except PoolhouseError as error:
        print(f"poolhouse: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        print(f"poolhouse: {error.filename or options.path}: {error.strerror or error}", file=sys.stderr)
        return FAILED


def new(path: Path, *, name: str | None = None, example: str | None = None) -> int:
    """Write a project and say what to do next.

    Args:
        path: its folder.
        name: of the project; None: the folder's.
        example: whose code it starts with; None: with a first task type.

    Raises:
        ConfigError: it can't be written there, or this is an installation for production alone.
    """
    try:
        from poolhouse.commands.project import new_project, project_files  # noqa: PLC0415 - of the extra `local`
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"`poolhouse new` needs the local stack, and {error.name} is not installed: pip install 'poolhouse[local]'"
        ) from None
    files = new_project.create(path, name=name, example=example)
    print(f"{len(files)} files in {path}. Next:")
    print(f"  cd {shlex.quote(str(path))}")
    print("  git init && git add --all && git commit --message 'A new Poolhouse project'")
    needed = project_files.requirements(example) if example else []
    if needed:
        print(f"  ./invoke lock           # {', '.join(needed)}")
    print("  ./invoke e2e            # the whole pipeline on this machine")
    then = "README.md has what to try" if example else "then: ./invoke submit greet name=Ada --wait"
    print(f"  ./invoke up --reload    # {then}")
    return OK


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="poolhouse", description="Background tasks on Google Cloud, developed locally.")
    top.add_argument("--version", action="version", version=f"poolhouse {kit.version()}")
    commands = top.add_subparsers(dest="command", required=True)
    create = commands.add_parser("new", help="write a new project")
    create.add_argument("path", type=Path, help="folder of the new project")
    create.add_argument("--name", help="name of the project and its pipeline (the folder's name)")
    create.add_argument("--example", help="start with the code of an example: thumbnails, nightly_report or webhooks")
    return top


if __name__ == "__main__":
    sys.exit(main())
