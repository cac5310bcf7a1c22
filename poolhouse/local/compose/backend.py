"""The backend that is a Compose project: the same words as for processes, carried out by `docker compose`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from poolhouse.local import state
from poolhouse.local.backend import Endpoints, QueueScale, ServiceState, ServiceStatus, UpOptions, default_state_dir
from poolhouse.local.compose import build, engine
from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose.advice import advise, missing_images
from poolhouse.local.compose.engine import Container, EngineError, docker
from poolhouse.local.embedded import specs
from poolhouse.local.errors import NoStack, StackError
from poolhouse.local.processes import ports
from poolhouse.local.state import StackState
from poolhouse.pipeline.settings import Settings
from poolhouse.project import ROOT

USUAL_API_PORT = 8080
PROJECT, BUCKET = "poolhouse-local", "poolhouse-local"
#: Runs once and ends; every other service stays.
SETUP = "setup"
#: Compose's names for what the backends' common words are, where they differ.
_WORDS = {"gcs": "storage", "dead-letters": "worker"}
_OWN = {"storage": "gcs"}
#: Time for `docker stop`, in seconds: the workers' grace period and a little.
STOP_TIMEOUT_S = 11
_POLL_S = 0.2
#: A container that ended with an error this often while we wait will not get well.
_CRASHES = 5
_OVERRIDE = "compose.override.json"
#: Settings that the stack itself decides.
_DECIDED = {"google_cloud_project", "bucket_name", "pipeline_file", "backlog_source", "storage_public_url"}


def usable() -> str:
    """Why a stack of containers works here, in a few words. Raises `StackError`, whose text says why it does not."""
    engine.probe()
    declared = compose_file.services(os.environ)
    wanted = sorted({*compose_file.public_images(declared).values(), compose_file.base_image(os.environ)})
    problem = missing_images(engine.available(wanted))
    if problem is not None:
        raise StackError(problem)
    return "a Docker engine answers and has the images"


def word(service: str) -> str:
    """The backends' common word for a Compose service."""
    return "worker" if service.startswith("worker-") else _WORDS.get(service, service)


class Compose:
    """Runs docker-compose.yml, with free ports and the sample handlers of the e2e."""

    name = "compose"

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        #: Ends the project should this process die first; only for an attached stack.
        self._reaper: subprocess.Popen[bytes] | None = None

    def up(self, options: UpOptions, say: Callable[[str], None]) -> Endpoints:
        """Build what has changed, start the containers and follow their health."""
        engine.probe()
        endpoints = _endpoints(options)
        details: dict[str, Any] = {
            "project": self._project_name(options),
            "volumes": options.attached,
            "environment": _environment(endpoints),
        }
        build.pull(sorted(set(compose_file.public_images(compose_file.services(os.environ)).values())), say)
        if options.reload:
            say(f"saved code goes live with: docker compose --project-name {details['project']} watch")
        say("building the image (nothing to do where nothing changed)")
        build.build()
        self._write_override(options)
        found = StackState(backend=self.name, endpoints=endpoints, ready=False, details=details)
        state.write(self._state_dir, found)
        if options.attached:
            self._reaper = _start_reaper(details["project"])
        try:
            self._start(found, options, say)
        except BaseException:  # Ctrl-C too: half a stack is none
            self.down()
            raise
        state.write(self._state_dir, StackState(backend=self.name, endpoints=endpoints, ready=True, details=details))
        return endpoints

    def down(self, *, volumes: bool = False) -> bool:
        """Stop and remove the containers.

        Args:
            volumes: remove the objects too; those of an attached stack always go.
        """
        found = state.read(self._state_dir)
        if found is None or found.backend != self.name:
            return False
        everything = ["--volumes"] if volumes or found.details["volumes"] else []
        self._compose(found, "down", "--timeout", str(STOP_TIMEOUT_S), "--remove-orphans", *everything)
        state.remove(self._state_dir)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(b"done\n")
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None
        return True

    def endpoints(self) -> Endpoints:
        """As the state file has them."""
        return self._live().endpoints

    def status(self) -> tuple[ServiceStatus, ...]:
        """Every container but the one that makes the topology and ends."""
        found = self._live()
        prefix = f"{found.details['project']}-"
        listed = [container for container in self._containers(found) if container.service != SETUP]
        return tuple(
            _status(container, container.name.removeprefix(prefix), now=datetime.now(UTC))
            for container in sorted(listed, key=lambda container: (_order(container.service), container.name))
        )

    def scaling(self) -> tuple[QueueScale, ...]:
        """None: Google's emulator tells no backlog that workers could follow."""
        return ()

    def log_files(self) -> None:
        """None: the engine keeps the logs."""
        return

    def log_command(self, service: str | None, *, follow: bool, lines: int) -> list[str] | None:
        """`docker compose logs`, of one service or of all."""
        found = self._live()
        chosen = [] if service is None else self._services(found, service)
        follows = ["--follow"] if follow else []
        return ["docker", *self._arguments(found), "logs", "--tail", str(lines), *follows, *chosen]

    def restart(self, service: str, *, kill: bool = False) -> None:
        """Stop a service's containers and start them again; the topology is made anew where Pub/Sub lost it."""
        found = self._live()
        chosen = self._services(found, service)
        if kill:
            self._compose(found, "kill", *chosen)
        else:
            self._compose(found, "stop", "--timeout", str(STOP_TIMEOUT_S), *chosen)
        self._compose(found, "up", "--detach", "--no-build", "--no-recreate", "--no-deps", *chosen)
        self._wait_ready(found, chosen, timeout_s=60, say=lambda _: None)
        if "pubsub" in chosen:
            # Google's emulator keeps nothing. The workers end, since their subscriptions are gone, and come again.
            self._compose(found, "up", "--no-build", "--no-log-prefix", "--no-deps", SETUP)
            self._compose(found, "restart", "--no-deps", *self._services(found, "worker"))
            self._wait_ready(found, (), timeout_s=60, say=lambda _: None)

    def scale(self, service: str, instances: int) -> None:
        """Run that many containers of a worker service; `worker` means that many for each queue."""
        found = self._live()
        declared = compose_file.worker_services(self._declared(found))
        chosen = declared if service == "worker" else (service,)
        if not set(chosen) <= set(declared):
            raise StackError(f"{service!r} can't be scaled (these can: worker, {', '.join(declared)})")
        scales = [part for name in chosen for part in ("--scale", f"{name}={instances}")]
        self._compose(found, "up", "--detach", "--no-build", "--no-recreate", "--no-deps", *scales, *chosen)
        self._wait_ready(found, chosen, timeout_s=60, say=lambda _: None)

    def _start(self, found: StackState, options: UpOptions, say: Callable[[str], None]) -> None:
        scales = [
            part
            for name in compose_file.worker_services(self._declared(found))
            for part in ("--scale", f"{name}={options.workers}")
        ]
        command = ("docker", *self._arguments(found), "up", "--detach", "--no-build", "--remove-orphans", *scales)
        deadline_s = time.monotonic() + options.timeout_s
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=engine.variables(found.details["environment"]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                self._follow(process, found, deadline_s=deadline_s, say=say)
            except BaseException:
                process.kill()
                raise
        self._wait_ready(found, (), timeout_s=deadline_s - time.monotonic(), say=say)

    def _follow(
        self, process: subprocess.Popen[bytes], found: StackState, *, deadline_s: float, say: Callable[[str], None]
    ) -> None:
        """Wait for `docker compose up` to have created and started all. Raises `StackError`."""
        try:
            _, message = process.communicate(timeout=max(1.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise StackError(f"not all containers started in time{self._unready(found)}") from None
        if process.returncode != 0:
            text = message.decode(errors="replace")
            # A container that failed says more in its own log than Compose does.
            failed = self._failed(found)
            raise StackError(failed if failed is not None else advise(text))

    def _wait_ready(
        self, found: StackState, services: Sequence[str], *, timeout_s: float, say: Callable[[str], None]
    ) -> None:
        """Wait until every container of the services (all, where none is named) is healthy. Raises `StackError`."""
        deadline_s = time.monotonic() + timeout_s
        told: set[str] = set()
        while True:
            listed = [
                container
                for container in self._containers(found)
                if container.service != SETUP and (not services or container.service in services)
            ]
            for container in listed:
                if container.ready and container.name not in told:
                    told.add(container.name)
                    say(f"  {container.name.removeprefix(found.details['project'] + '-')} is ready")
            if listed and all(container.ready for container in listed):
                return
            if any(container.restarts >= _CRASHES for container in listed):
                raise StackError(self._failed(found) or f"containers end as soon as they start{self._unready(found)}")
            if time.monotonic() > deadline_s:
                raise StackError(f"not all containers are healthy after {timeout_s:.0f} s{self._unready(found)}")
            time.sleep(_POLL_S)

    def _failed(self, found: StackState) -> str | None:
        """What a container that ended with an error wrote last; None where none did."""
        with contextlib.suppress(EngineError):
            for container in self._containers(found):
                if container.exit_code != 0 or container.restarts:
                    name = container.name.removeprefix(found.details["project"] + "-")
                    return f"{name} ended with an error:\n{engine.log_tail(container.id)}"
        return None

    def _unready(self, found: StackState) -> str:
        with contextlib.suppress(EngineError):
            waiting = [
                f"{container.service} is {container.health or container.state}"
                for container in self._containers(found)
                if not container.ready and container.service != SETUP
            ]
            return f": {', '.join(waiting)}. The logs tell more: docker compose logs"
        return ""

    def _containers(self, found: StackState) -> tuple[Container, ...]:
        return engine.containers(found.details["project"])

    def _services(self, found: StackState, service: str) -> tuple[str, ...]:
        """The Compose services that a common word, or a Compose service's own name, stands for."""
        declared = self._declared(found)
        if service in declared:
            return (service,)
        chosen = tuple(name for name in declared if word(name) == service)
        if not chosen:
            words = dict.fromkeys([*map(word, declared), *declared])
            raise StackError(f"there is no service {service!r} (there are: {', '.join(words)})")
        return chosen

    def _declared(self, found: StackState) -> dict[str, Any]:
        return compose_file.services(found.details["environment"])

    def _compose(self, found: StackState, *arguments: str) -> str:
        return docker(*self._arguments(found), *arguments, environment=found.details["environment"])

    def _arguments(self, found: StackState) -> Iterator[str]:
        override = self._state_dir / _OVERRIDE
        yield from ("compose", "--project-name", found.details["project"], "--file", str(compose_file.COMPOSE_FILE))
        if override.exists():
            yield from ("--file", str(override))

    def _project_name(self, options: UpOptions) -> str:
        if self._state_dir == default_state_dir() and "POOLHOUSE_STATE_DIR" not in os.environ and not options.attached:
            return "poolhouse"
        return f"poolhouse-{hashlib.sha256(str(self._state_dir).encode()).hexdigest()[:10]}"

    def _write_override(self, options: UpOptions) -> None:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        document = override(
            pipeline=compose_file.pipeline_services(compose_file.services(os.environ)),
            own=os.environ,
            extra=options.environment,
        )
        (self._state_dir / _OVERRIDE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def _live(self) -> StackState:
        found = state.read_live(self._state_dir)
        if found is None or found.backend != self.name:
            raise NoStack
        return found


def override(*, pipeline: Sequence[str], own: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, Any]:
    """What `invoke up` lays over docker-compose.yml: the sample handlers, and Poolhouse's settings of this shell.

    Args:
        pipeline: the services that run the production image.
        own: this process's environment.
        extra: variables for these services that come before it.
    """
    names = [name.upper() for name in Settings.model_fields if name not in _DECIDED]
    variables = {**{name: own[name] for name in names if own.get(name)}, **extra}
    # A path on this machine: the containers get the file itself in the place of the image's.
    file = variables.pop("PIPELINE_FILE", None) or own.get("PIPELINE_FILE")
    variables["TASK_HANDLERS"] = specs.handlers(variables.get("TASK_HANDLERS"), file or ROOT / "pipeline.toml")
    declared = [_bind(Path(file).resolve(), "/app/pipeline.toml")] if file else []
    services: dict[str, Any] = {name: {"environment": variables, "volumes": declared} for name in pipeline}
    if declared:
        services[SETUP] = {"volumes": declared}
    return {"services": services}


def _bind(source: Path, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "target": target, "read_only": True}


def _environment(endpoints: Endpoints) -> dict[str, str]:
    """The variables of docker-compose.yml."""
    return {
        "API_PORT": endpoints.api_url.rsplit(":", 1)[1],
        "PUBSUB_PORT": endpoints.pubsub_host.rsplit(":", 1)[1],
        "STORAGE_PORT": endpoints.storage_url.rsplit(":", 1)[1],
        "GOOGLE_CLOUD_PROJECT": endpoints.project,
        "BUCKET_NAME": endpoints.bucket,
    }


def _endpoints(options: UpOptions) -> Endpoints:
    api = ports.choose(wanted=options.api_port, preferred=USUAL_API_PORT, what="the API (--api-port)")
    pubsub = ports.choose(wanted=options.pubsub_port, what="Pub/Sub (--pubsub-port)")
    storage = ports.choose(wanted=options.storage_port, what="storage (--storage-port)")
    return Endpoints(
        api_url=f"http://{ports.HOST}:{api}",
        pubsub_host=f"{ports.HOST}:{pubsub}",
        storage_url=f"http://{ports.HOST}:{storage}",
        project=PROJECT,
        bucket=BUCKET,
    )


def _order(service: str) -> int:
    return {"pubsub": 0, "storage": 1, "api": 2, "worker": 3}.get(word(service), 4)


def _status(container: Container, instance: str, *, now: datetime) -> ServiceStatus:
    if container.ready:
        how = ServiceState.READY
    elif container.state == "restarting":
        how = ServiceState.BACKOFF
    elif container.state in ("created", "running"):
        how = ServiceState.STARTING
    else:
        how = ServiceState.STOPPED
    running = container.state == "running" and container.started_at is not None
    return ServiceStatus(
        service=word(container.service),
        instance=instance,
        state=how,
        pid=container.pid,
        address=", ".join(f"{ports.HOST}:{port}" for port in container.ports.values()) or None,
        uptime_s=(now - container.started_at).total_seconds() if running and container.started_at else None,
        restarts=container.restarts,
        last_exit=f"exit code {container.exit_code}" if container.restarts or how is ServiceState.STOPPED else None,
    )


def _start_reaper(project: str) -> subprocess.Popen[bytes]:
    """A process that removes the project when this one is gone, however it went: it sees the pipe close."""
    script = (
        "import subprocess, sys\n"
        "if sys.stdin.readline() != 'done\\n':\n"
        "    subprocess.run(['docker', 'compose', '-p', sys.argv[1], 'down', '-v', '-t', '2'], check=False)\n"
    )
    return subprocess.Popen(
        (sys.executable, "-I", "-S", "-c", script, project),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
