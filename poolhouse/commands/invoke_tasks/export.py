"""Files for other tools."""

from __future__ import annotations

from invoke import Context

from poolhouse.commands.invoke_tasks.running import CLOUD, command, run


@command(
    positional=["what"],
    help={
        "what": "grafana (a dashboard), prometheus-rules (alerts on the objectives of the queues), sbom (in CycloneDX, "
        "what the image contains) or terraform (a configuration of everything that a deploy creates)",
        "file": "file to write; default: standard output (not with terraform)",
        **CLOUD,
        "folder": "with export terraform: where to write its files (terraform/)",
        "with_imports": "with export terraform: read the project and write import blocks for what exists",
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
    """Write files for another tool: export grafana, export prometheus-rules, export sbom, export terraform."""
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
