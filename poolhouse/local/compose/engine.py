"""The `docker` command: the one place that runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from poolhouse.local.compose.advice import NO_COMPOSE, WITHOUT_DOCKER, advise, unfit
from poolhouse.local.errors import StackError
from poolhouse.pipeline.image_digests import repository_digest
from poolhouse.project import ROOT

#: An engine that has not answered by then counts as not there, in seconds.
PROBE_TIMEOUT_S = 10.0
#: Longest time for one command, in seconds; a build or a pull may take minutes.
COMMAND_TIMEOUT_S = 120.0
BUILD_TIMEOUT_S = 1800.0
#: Longest time to ask registries for an image, in seconds.
REGISTRY_TIMEOUT_S = 10.0
#: What a user keeps in these for other projects must not change which stack Compose talks to, how it reads our words,
#: where builds end (another builder keeps its images to itself), or the processor that images are for.
_FOREIGN = re.compile(r"COMPOSE_\w+|BUILDX_BUILDER|DOCKER_DEFAULT_PLATFORM")
_OURS = {
    "DOCKER_BUILDKIT": "1",
    "DOCKER_CLI_HINTS": "false",
    # Compose refuses it together with --remove-orphans, and reads it from .env too.
    "COMPOSE_IGNORE_ORPHANS": "false",
}


class EngineError(StackError):
    """A call of Docker failed; the text says why in one sentence, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of a Compose project."""

    id: str
    name: str
    service: str
    image: str
    #: created, running, restarting, exited, dead, …
    state: str
    #: starting, healthy or unhealthy; None where it has no health check.
    health: str | None
    pid: int | None
    exit_code: int
    started_at: datetime | None
    restarts: int
    #: Whether the kernel ended it for want of memory.
    out_of_memory: bool = False
    #: Ports that are open now: the container's to this machine's.
    ports: Mapping[int, int]
    #: Ports that it is configured to publish; it has them while it does not run, too.
    published: Mapping[int, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The command of its health check; empty where it has none.
    check: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Running, and healthy where it says."""
        return self.state == "running" and self.health in (None, "healthy")


def parse(inspected: Sequence[Mapping[str, Any]]) -> tuple[Container, ...]:
    """Containers from what `docker inspect` prints."""
    return tuple(_container(entry) for entry in inspected)


def _container(entry: Mapping[str, Any]) -> Container:
    state, labels = entry["State"], entry["Config"]["Labels"] or {}
    test = (entry["Config"].get("Healthcheck") or {}).get("Test") or []
    started = state.get("StartedAt", "")
    return Container(
        id=entry["Id"],
        name=entry["Name"].lstrip("/"),
        service=labels.get("com.docker.compose.service", ""),
        image=entry["Config"]["Image"],
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status"),
        pid=state.get("Pid") or None,
        exit_code=state.get("ExitCode", 0),
        # Docker writes nanoseconds, and the year 1 for never.
        started_at=None
        if not started or started.startswith("0001")
        else datetime.fromisoformat(started[:19] + "+00:00"),
        restarts=entry.get("RestartCount", 0),
        out_of_memory=bool(state.get("OOMKilled")),
        ports=_ports((entry.get("NetworkSettings") or {}).get("Ports")),
        published=_ports((entry.get("HostConfig") or {}).get("PortBindings")),
        environment=dict(variable.partition("=")[::2] for variable in entry["Config"].get("Env") or ()),
        check=tuple(test[1:]) if test[:1] == ["CMD"] else (),
    )


def _ports(bindings: Mapping[str, Any] | None) -> dict[int, int]:
    return {
        int(port.partition("/")[0]): int(published[0]["HostPort"])
        for port, published in (bindings or {}).items()
        if published and published[0]["HostPort"]
    }


def docker(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
    data: bytes | None = None,
    explain: Callable[[str], str] = advise,
) -> str:
    """Run `docker ARGUMENTS` in the project's root and return its standard output.

    Args:
        environment: variables on top of this process's own.
        timeout_s: longest time, in seconds.
        data: for its standard input.
        explain: turns its standard error into a message.

    Raises:
        EngineError: there is no docker, it failed, or took too long.
    """
    try:
        done = subprocess.run(
            ("docker", *arguments),
            cwd=ROOT,
            env=variables(environment),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise EngineError(
            f"there is no docker command: install Docker (https://docs.docker.com/get-docker), {WITHOUT_DOCKER}"
        ) from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"docker {arguments[0]} did not end in {timeout_s:.0f} s: is the engine all right?") from None
    if done.returncode != 0:
        raise EngineError(explain((done.stderr or done.stdout).decode(errors="replace")))
    return done.stdout.decode(errors="replace")


def variables(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for docker commands."""
    own = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    return {**own, **_OURS, **(extra or {})}


def probe() -> None:
    """Raise `EngineError` unless a Docker engine answers and a Compose that can read our file is installed."""
    if shutil.which("docker") is None:
        raise EngineError("there is no docker command")
    with ThreadPoolExecutor(2) as pool:
        engine = pool.submit(docker, "version", "--format", "{{json .}}", timeout_s=PROBE_TIMEOUT_S)
        plugin = pool.submit(
            docker, "compose", "version", "--short", timeout_s=PROBE_TIMEOUT_S, explain=lambda _: NO_COMPOSE
        )
        problem = unfit(engine=engine.result(), compose=plugin.result())
    if problem is not None:
        raise EngineError(problem)


def architecture() -> str:
    """The engine's processor, as image manifests call it: amd64, arm64 or another."""
    return docker("version", "--format", "{{.Server.Arch}}", timeout_s=PROBE_TIMEOUT_S).strip()


def most_cpus() -> float:
    """The most processors that a container may be limited to; 0 where the engine can't limit them and refuses to try.

    The latter is a rootless engine to which systemd delegates no CPU controller (Docker, Rootless mode).
    """
    found = json.loads(docker("info", "--format", "{{json .}}", timeout_s=PROBE_TIMEOUT_S))
    return float(found["NCPU"]) if found.get("CpuCfsQuota", True) else 0.0


def has_image(name: str) -> bool:
    """Whether the engine has an image of that name, for its own processor."""
    try:
        found = docker("image", "inspect", "--format", "{{.Architecture}}", name, timeout_s=PROBE_TIMEOUT_S).strip()
    except EngineError:
        return False
    return found == architecture()


def image_label(name: str, label: str) -> str | None:
    """The value of an image's label; None where there is no such image or label."""
    try:
        found = docker("image", "inspect", "--format", "{{json .Config.Labels}}", name, timeout_s=PROBE_TIMEOUT_S)
    except EngineError:
        return None
    value: str | None = (json.loads(found) or {}).get(label)
    return value


def pull(name: str) -> None:
    """Pull an image: where its digest is known, the one of that digest. Raises `EngineError`."""
    pinned = repository_digest(name)
    docker("pull", "--quiet", pinned or name, timeout_s=BUILD_TIMEOUT_S)
    if pinned:
        docker("tag", pinned, name)


def can_pull(name: str) -> bool:
    """Whether a registry has what `pull` would take, and answers now."""
    try:
        docker("manifest", "inspect", repository_digest(name) or name, timeout_s=REGISTRY_TIMEOUT_S)
    except EngineError:
        return False
    return True


def available(names: Sequence[str]) -> dict[str, bool]:
    """Whether each image is here or can be pulled."""
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        return dict(zip(names, pool.map(lambda name: has_image(name) or can_pull(name), names), strict=True))


def healthy(container: Container) -> bool:
    """Whether its health check passes now: while a stack starts, the engine itself looks too seldom to wait for."""
    if container.state != "running" or container.health == "healthy" or not container.check:
        return container.ready
    try:
        docker("exec", container.id, *container.check, timeout_s=PROBE_TIMEOUT_S)
    except EngineError:
        return False
    return True


def last_exits(project: str) -> dict[str, int]:
    """The exit codes with which containers that run again ended last, by id, as far back as the engine remembers."""
    listed = docker(
        *("events", "--since", "24h", "--until", "0s", "--filter", f"label=com.docker.compose.project={project}"),
        *("--filter", "event=die", "--format", '{{.ID}} {{index .Actor.Attributes "exitCode"}}'),
        timeout_s=PROBE_TIMEOUT_S,
    )
    return {id: int(code) for id, _, code in (line.partition(" ") for line in listed.splitlines()) if code.isdigit()}


def log_tail(container_id: str, *, lines: int = 15) -> str:
    """The last lines of a container's log, of both its streams; empty where it wrote nothing."""
    done = subprocess.run(
        ("docker", "logs", "--tail", str(lines), container_id),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    return done.stdout.decode(errors="replace").strip()


def containers(project: str) -> tuple[Container, ...]:
    """The containers of a Compose project, the one-shot ones too, by name."""
    ids = docker("ps", "-aq", "--no-trunc", "--filter", f"label=com.docker.compose.project={project}").split()
    if not ids:
        return ()
    try:
        return tuple(sorted(parse(json.loads(docker("inspect", *ids))), key=lambda container: container.name))
    except EngineError:
        # One of them is gone since it was listed: while Compose replaces it, or at an end.
        return ()
