"""The local stack: start it, stop it, look at it."""

from __future__ import annotations

from invoke import Context

from poolhouse.commands.invoke_tasks.running import DEPLOYED, command, run
from poolhouse.local.backend import UpOptions


@command(
    help={
        "backend": "embedded or compose; default: compose where Docker and the images are there, else embedded",
        "foreground": "stay attached, print the logs, stop the stack on Ctrl-C",
        "reload": "restart API and workers when code is saved; running tasks finish on the old code",
        "keep": "keep queues and objects for the next up --keep; down --volumes deletes them",
        "gcs_limits": "take changes of objects at the rates of Cloud Storage only: one write per second of a name",
        "workers": "number of worker processes (1)",
        "autoscale": "scale the workers of each queue with its backlog, as on Google Cloud",
        "scale_down_after": "with --autoscale: seconds that fewer workers must be enough before one is stopped (120)",
        "api_port": "port of the API (8080 if it is free, else any)",
        "pubsub_port": "port of the Pub/Sub emulator (any)",
        "storage_port": "port of the storage server (any)",
        "console_port": "port of the console (8081 if it is free, else any)",
        "pubsub": "Pub/Sub emulator of the compose backend: poolhouse (default) or google",
        "timeout": "seconds until everything must be ready (60)",
    }
)
def up(
    c: Context,
    backend: str | None = None,
    foreground: bool = False,
    reload: bool = False,
    keep: bool = False,
    gcs_limits: bool = False,
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
    """Start the local stack; return when it is ready."""
    from poolhouse.commands.stack.lifecycle import up

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
        gcs_limits=gcs_limits,
        autoscale=autoscale,
        scale_down_after_s=scale_down_after or None,
        pubsub=pubsub,
    )
    run(up, backend=backend, foreground=foreground, options=options)


@command(help={"volumes": "also delete kept data: queues and objects of up --keep, volumes of compose"})
def down(c: Context, volumes: bool = False) -> None:
    """Stop the local stack."""
    from poolhouse.commands.stack.lifecycle import down

    run(down, volumes=volumes)


@command(help={"stand_ins": "build stand-ins for the public images even if those can be pulled"})
def images(c: Context, stand_ins: bool = False) -> None:
    """Pull or build every image of the compose backend; afterwards it needs no network."""
    from poolhouse.local.compose import images

    run(images.command, stand_ins=stand_ins)


@command()
def compose_file(c: Context) -> None:
    """Update docker-compose.yml from pipeline.toml: one worker service per queue."""
    from poolhouse.local.compose import workers as compose_workers

    run(compose_workers.renew)


@command(
    help={"wanted": "SERVICE=NUMBER, such as worker=3; with compose also one queue's, such as worker-default=3"},
    positional=["wanted"],
)
def scale(c: Context, wanted: str) -> None:
    """Change the number of workers of the running stack."""
    from poolhouse.commands.stack.lifecycle import scale

    run(scale, wanted)


@command(help={**DEPLOYED, "json": "print JSON"})
def status(c: Context, json: bool = False, project: str = "", stage: str = "") -> None:
    """Show services, ports and the backlog of the queues."""
    if project or stage:
        from poolhouse.commands import cloud as deployed

        run(deployed.status, project=project, stage=stage, as_json=json)
    from poolhouse.commands.stack.status import status as show

    run(show, as_json=json)


@command(help={"format": 'shell (default, for `eval "$(./invoke env)"`), dotenv or json'})
def env(c: Context, format: str = "shell") -> None:
    """Print the environment variables that other programs need to use the running stack."""
    from poolhouse.commands.stack.variables import show_environment

    run(show_environment, format)


@command(
    help={
        "open": "open it in a browser",
        "port": "port, where the console is started by this command (8081 if it is free, else any)",
        **DEPLOYED,
    }
)
def console(c: Context, open: bool = False, port: int = 0, project: str = "", stage: str = "") -> None:
    """Print the console's address; with compose or --project, run the console until Ctrl-C."""

    def shown() -> int:
        from poolhouse.local.console import command

        if not (project or stage):
            return command.show(port=port or None, open_it=open)
        from poolhouse.commands import cloud as deployed
        from poolhouse.local.console.stacks import Deployed

        there = deployed.access(project=project, stage=stage)
        pipeline = Deployed(
            there.project,
            there.url,
            there.token,
            log_filter=there.log_filter,
            cloud_trace=there.cloud_trace,
            stage=stage,
        )
        return command.run(pipeline, port=port or None, open_it=open)

    run(shown)


@command(
    help={
        "service": "one service, such as api or worker (all)",
        "follow": "keep printing new lines",
        "lines": "number of latest lines per service (50)",
        "raw": "print the lines as they were written (JSON)",
        **DEPLOYED,
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

        run(deployed.logs, project=project, stage=stage, service=service, lines=lines, follow=follow)
    from poolhouse.commands.stack.logs import show_logs

    run(show_logs, service or None, follow=follow, lines=lines, raw=raw)
