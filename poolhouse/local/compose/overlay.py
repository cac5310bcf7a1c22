"""What `up` lays over docker-compose.yml (and the user's override of it): handlers, variables, workers, slow checks."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poolhouse.local.backend import traces_dir
from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose import workers as compose_workers
from poolhouse.local.compose.project import OVERLAY
from poolhouse.local.embedded.specs import handlers
from poolhouse.pipeline.config.topology import Topology

#: Runs once and ends; every other service stays.
SETUP = "setup"
#: The interval of health checks while all is well: `up` and `status` look for themselves where they can't wait.
_IDLE_INTERVAL = "30s"
#: Copies of files that the containers get, readable by their user whatever the umask of the checkout is.
_FILES = "compose"
#: Where the containers find the folder for spans.
_TRACES = "/traces"


def overlay(
    *,
    declared: Topology,
    variables: Mapping[str, str],
    pipeline: Path | None,
    traces: Path | None = None,
    attached: bool = False,
    most_cpus: float = math.inf,
) -> dict[str, Any]:
    """The document.

    Args:
        declared: has the queues; each gets its worker service, whatever docker-compose.yml has.
        variables: of the API and the workers.
        pipeline: what they mount in the place of the image's pipeline.toml; None: nothing.
        traces: the folder that their spans go to; None: they record none there.
        attached: the stack ends with a process: a reboot, which ends both, must not bring its containers back.
        most_cpus: what the engine has of them: it refuses a higher limit. 0: it refuses any.
    """
    base = compose_file.services({})
    template = compose_file.extension("worker")
    workers = compose_workers.definitions(declared, {})
    environment = {**variables, "TASK_HANDLERS": handlers(variables, declared)}
    mounts = [_bind(pipeline, "/app/pipeline.toml")] if pipeline else []
    writing = [_bind(traces, _TRACES, read_only=False)] if traces else []
    if traces:
        environment["TRACES_DIR"] = _TRACES
    services: dict[str, Any] = {}
    for name in (*compose_file.pipeline_services(base), *workers):
        # A queue that docker-compose.yml does not know yet has all of its worker here.
        whole = template if name not in base else {}
        services[name] = {
            **whole,
            **workers.get(name, {}),
            "environment": {**whole.get("environment", {}), **_escaped(environment)},
            "volumes": [*mounts, *writing],
        }
    for name, service in base.items():
        if "healthcheck" in service:
            services.setdefault(name, {})["healthcheck"] = {"interval": _IDLE_INTERVAL}
    if attached:
        for name in {*base, *workers} - {SETUP}:
            services.setdefault(name, {})["restart"] = "on-failure"
    storage = compose_file.command(compose_workers.STORAGE)
    if (command := compose_workers.storage_command(declared, storage)) != storage:
        services.setdefault(compose_workers.STORAGE, {})["command"] = command
    services[SETUP] = {
        "environment": {
            compose_workers.VARIABLE: compose_workers.listed(declared),
            compose_workers.EVENTS: compose_workers.events(declared),
        },
        **({"volumes": mounts} if mounts else {}),
    }
    for name, cpus in _cpus({**base, **workers}).items():
        if cpus > most_cpus:
            services.setdefault(name, {})["cpus"] = most_cpus
    return {"services": services}


def _cpus(declared: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(service["cpus"]) for name, service in declared.items() if "cpus" in service}


def copy(state_dir: Path, pipeline_file: str) -> Path:
    """Copy another pipeline.toml than the image's to where containers can read it; returns its path."""
    folder = state_dir / _FILES
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / "pipeline.toml"
    shutil.copyfile(pipeline_file, target)
    folder.chmod(0o755)
    target.chmod(0o644)
    return target


def make_traces_dir(state_dir: Path) -> Path:
    """Make the folder for spans, which the containers' user may write to; returns its path."""
    folder = traces_dir(state_dir, "compose")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o1777)
    return folder


def write(state_dir: Path, document: Mapping[str, Any]) -> None:
    """Write it for `docker compose`. It may hold secrets of the shell: no one else can read it."""
    path = state_dir / OVERLAY
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)


def _escaped(variables: Mapping[str, str]) -> dict[str, str]:
    """Compose puts variables into this document too: a `$` of a value is to stay one."""
    return {name: value.replace("$", "$$") for name, value in variables.items()}


def _bind(source: Path, target: str, *, read_only: bool = True) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "target": target, "read_only": read_only}
