"""Files for other tools."""

from __future__ import annotations

from invoke import Context

from poolhouse.commands.invoke_tasks.running import command, run


@command(
    positional=["what"],
    help={
        "what": "grafana (a dashboard) or prometheus-rules (alerts on the objectives of the queues)",
        "file": "where to write it; default: standard output",
        "stage": "stage of pipeline.toml; default: the declaration as it stands",
    },
)
def export(c: Context, what: str, file: str = "", stage: str = "") -> None:
    """Write a file for another tool: export grafana, export prometheus-rules."""
    from poolhouse.commands.export import command as commands

    run(commands.run, what=what, stage=stage, file=file)
