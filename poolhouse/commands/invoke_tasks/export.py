"""Files for other tools."""

from __future__ import annotations

from invoke import Context

from poolhouse.commands.invoke_tasks.running import CLOUD, command, run


@command(
    positional=["what"],
    help={
        "what": "grafana (a dashboard), prometheus-rules (alerts on the objectives of the queues) or "
        "terraform (the configuration of all that a deploy makes)",
        "file": "where to write it; default: standard output",
        **CLOUD,
        "folder": "where to write Terraform's files (terraform)",
        "with_imports": "ask the project what exists, and write import blocks for it",
    },
)
def export(
    c: Context,
    what: str,
    file: str = "",
    stage: str = "",
    project: str = "",
    folder: str = "",
    with_imports: bool = False,
) -> None:
    """Write files for another tool: export grafana, export prometheus-rules, export terraform."""
    from poolhouse.commands.export import command as commands

    run(
        commands.run,
        what=what,
        stage=stage,
        file=file,
        project=project,
        folder=folder,
        with_imports=with_imports,
    )
