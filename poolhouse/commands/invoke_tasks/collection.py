"""All commands of the kit as one collection."""

from __future__ import annotations

from invoke import Collection, Task
from invoke.main import program

from poolhouse.commands import command_line
from poolhouse.commands.invoke_tasks import cloud, export, project, stack, tasks

#: Commands that only the kit's own repository has.
OF_THE_KIT = frozenset({"chaos", "bench", "new_project", "build", "docs", "mutants"})


def collection(*, of_the_kit: bool = False) -> Collection:
    """Return the kit's commands, for a project's tasks.py to add its own to with `add_task`.

    Args:
        of_the_kit: include the commands that only the kit's own repository has.
    """
    command_line.install(program)
    found = [
        value
        for module in (stack, tasks, project, cloud, export)
        for value in vars(module).values()
        if isinstance(value, Task)
    ]
    return Collection(*(task for task in found if of_the_kit or task.name not in OF_THE_KIT))
