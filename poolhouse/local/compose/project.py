"""The Compose project of a checkout: its name, its images' names, and how it is found when nothing was written down."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from poolhouse.local import dotenv
from poolhouse.local.backend import Endpoints
from poolhouse.local.compose import emulator, engine
from poolhouse.local.compose.engine import Container, EngineError, docker
from poolhouse.local.processes import ports
from poolhouse.local.state import StackState
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

#: What `up` lays over docker-compose.yml, in the state's folder.
OVERLAY = "compose.override.json"
#: The folder that holds the state of this checkout's own stack.
_OWN_STATE = ROOT / ".poolhouse"
#: What Compose takes for a project's name.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LABELS = "com.docker.compose.project"
#: An engine that is slower than this has no stack that was not written down, in seconds.
_LOOK_TIMEOUT_S = 3.0


def checkout(root: Path = ROOT) -> str:
    """A name that is this checkout's own, and stays: no two share containers, volumes or images."""
    folder = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-")
    digest = hashlib.sha256(bytes(root.resolve())).hexdigest()[:8]
    return "-".join(filter(None, ("poolhouse", "" if folder == "poolhouse" else folder[:30].strip("-"), digest)))


def name(state_dir: Path, *, attached: bool, env_file: Path = dotenv.FILE) -> str:
    """The project of a stack.

    Args:
        state_dir: where its state is; another than the checkout's own means another project.
        env_file: the settings of the checkout, which may name the project.
        attached: whether it ends with a process, as a test's does: it never takes the place of the checkout's own.

    Raises:
        ConfigError: .env gives one that Compose does not take.
    """
    if state_dir == _OWN_STATE.resolve() and not attached:
        given = dotenv.read(env_file).get("COMPOSE_PROJECT_NAME")
        if given and not _NAME.fullmatch(given):
            raise ConfigError(
                f"COMPOSE_PROJECT_NAME={given} in .env: Compose takes lowercase letters, digits, '-' and '_', with a "
                "letter or digit at the beginning"
            )
        return given or checkout()
    return f"poolhouse-{hashlib.sha256(bytes(state_dir)).hexdigest()[:10]}"


def images(environment: Mapping[str, str]) -> dict[str, str]:
    """The names of the images that are built here, by build stage of the Dockerfile."""
    own = checkout()
    return {
        "production": environment.get("POOLHOUSE_IMAGE") or f"poolhouse:{own}",
        "local": environment.get("POOLHOUSE_SETUP_IMAGE") or f"poolhouse-setup:{own}",
        "pubsub": f"poolhouse-pubsub:{own}",
    }


def unrecorded(state_dir: Path) -> StackState | None:
    """The stack of this checkout that `docker compose up` started, or whose state file is lost; None: there is none.

    Only the checkout's own state directory has such a stack. An engine that does not answer has none either.
    """
    if state_dir != _OWN_STATE.resolve() or "POOLHOUSE_STATE_DIR" in os.environ or shutil.which("docker") is None:
        return None
    try:
        listed = docker(
            *("ps", "--all", "--filter", f"label={_LABELS}.working_dir={ROOT}"),
            *("--format", f'{{{{.Label "{_LABELS}"}}}}\t{{{{.Label "{_LABELS}.config_files"}}}}'),
            timeout_s=_LOOK_TIMEOUT_S,
        )
        for project, overlay in _projects(listed):
            if overlay in {None, str(state_dir / OVERLAY)}:
                found = _described(project, engine.containers(project), overlaid=overlay is not None)
                if found is not None:
                    return found
    except EngineError:
        pass
    return None


def _projects(listed: str) -> list[tuple[str, str | None]]:
    """Projects with the overlay that `up` gave them; None for those that `docker compose` started."""
    found: dict[str, str | None] = {}
    for line in listed.splitlines():
        project, _, paths = line.partition("\t")
        found[project] = next((path for path in paths.split(",") if path.endswith(OVERLAY)), None)
    return list(found.items())


def _described(project: str, found: tuple[Container, ...], *, overlaid: bool) -> StackState | None:
    """What a project's containers show of it; None where they are not a whole stack's."""
    by_service = {container.service: container for container in found}
    # Whichever container publishes them.
    published = {inside: outside for container in found for inside, outside in container.published.items()}
    if not {"api", "pubsub"} <= set(by_service) or not set(_VARIABLES) <= set(published):
        return None
    variables = by_service["api"].environment
    names = {key: variables.get(key, "") for key in ("GOOGLE_CLOUD_PROJECT", "BUCKET_NAME")}
    return StackState(
        backend="compose",
        endpoints=Endpoints(
            api_url=f"http://{ports.HOST}:{published[8080]}",
            pubsub_host=f"{ports.HOST}:{published[8085]}",
            storage_url=f"http://{ports.HOST}:{published[4443]}",
            project=names["GOOGLE_CLOUD_PROJECT"],
            bucket=names["BUCKET_NAME"],
        ),
        ready=True,
        details={
            "project": project,
            "volumes": False,
            "environment": {**names, **{_VARIABLES[port]: str(published[port]) for port in _VARIABLES}},
            "pubsub": emulator.of_image(by_service["pubsub"].image),
            "overlay": overlaid,
            # How many of each should run was not written down.
            "services": None,
            "pipeline_file": None,
        },
    )


#: Ports inside, and the variables of docker-compose.yml for those outside.
_VARIABLES = {8080: "API_PORT", 8085: "PUBSUB_PORT", 4443: "STORAGE_PORT"}
