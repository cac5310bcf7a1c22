"""What `up` lays over docker-compose.yml (and the user's override of it): handlers, variables, workers, slow checks."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose import workers as compose_workers
from poolhouse.local.compose.project import OVERLAY
from poolhouse.local.embedded.specs import SAMPLE_HANDLERS
from poolhouse.pipeline.topology import Topology
from poolhouse.project import ROOT

#: Runs once and ends; every other service stays.
SETUP = "setup"
#: The interval of health checks while all is well: `up` and `status` look for themselves where they can't wait.
_IDLE_INTERVAL = "30s"
#: Copies of files that the containers get, readable by their user whatever the umask of the checkout is.
_FILES = "compose"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files of this machine that containers get."""

    #: The folder of the sample handlers.
    samples: Path
    #: In the place of the image's pipeline.toml; None: the image's own.
    pipeline: Path | None


def overlay(
    *, declared: Topology, variables: Mapping[str, str], sources: Sources, attached: bool = False
) -> dict[str, Any]:
    """The document.

    Args:
        declared: has the queues; each gets its worker service, whatever docker-compose.yml has.
        variables: of the API and the workers.
        sources: what they mount.
        attached: the stack ends with a process: a reboot, which ends both, must not bring its containers back.
    """
    base = compose_file.services({})
    template = compose_file.extension("worker")
    workers = compose_workers.definitions(declared, {})
    environment = {**variables, "TASK_HANDLERS": _handlers(variables)}
    pipeline = [_bind(sources.pipeline, "/app/pipeline.toml")] if sources.pipeline else []
    mounts = [_bind(sources.samples, f"/app/{SAMPLE_HANDLERS.rpartition('.')[0].replace('.', '/')}"), *pipeline]
    services: dict[str, Any] = {}
    for name in (*compose_file.pipeline_services(base), *workers):
        # A queue that docker-compose.yml does not know yet has all of its worker here.
        whole = template if name not in base else {}
        services[name] = {
            **whole,
            **workers.get(name, {}),
            "environment": {**whole.get("environment", {}), **_escaped(environment)},
            "volumes": mounts,
        }
    for name, service in base.items():
        if "healthcheck" in service:
            services.setdefault(name, {})["healthcheck"] = {"interval": _IDLE_INTERVAL}
    if attached:
        for name in {*base, *workers} - {SETUP}:
            services.setdefault(name, {})["restart"] = "on-failure"
    services[SETUP] = {
        "environment": {compose_workers.VARIABLE: compose_workers.listed(declared)},
        **({"volumes": pipeline} if pipeline else {}),
    }
    return {"services": services}


def copy(state_dir: Path, *, pipeline_file: str | None) -> Sources:
    """Copy what containers get of this machine's files to where they can read it.

    Args:
        state_dir: the stack's.
        pipeline_file: another pipeline.toml than the image's.
    """
    folder = state_dir / _FILES
    shutil.rmtree(folder, ignore_errors=True)
    samples = folder / "samples"
    original = ROOT / SAMPLE_HANDLERS.rpartition(".")[0].replace(".", "/")
    shutil.copytree(original, samples, ignore=shutil.ignore_patterns("__pycache__"))
    pipeline = None
    if pipeline_file:
        pipeline = folder / "pipeline.toml"
        shutil.copyfile(pipeline_file, pipeline)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Sources(samples=samples, pipeline=pipeline)


def write(state_dir: Path, document: Mapping[str, Any]) -> None:
    """Write it for `docker compose`. It may hold secrets of the shell: no one else can read it."""
    path = state_dir / OVERLAY
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)


def _handlers(variables: Mapping[str, str]) -> str:
    named = [part.strip() for part in variables.get("TASK_HANDLERS", "worker.handlers").split(",") if part.strip()]
    return ",".join(dict.fromkeys([*named, SAMPLE_HANDLERS]))


def _escaped(variables: Mapping[str, str]) -> dict[str, str]:
    """Compose puts variables into this document too: a `$` of a value is to stay one."""
    return {name: value.replace("$", "$$") for name, value in variables.items()}


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "target": target, "read_only": True}
