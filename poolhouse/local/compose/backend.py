"""The backend that is a Compose project: the same words as for processes, carried out by `docker compose`."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from poolhouse.local import cloud_only, state
from poolhouse.local.backend import Endpoints, QueueScale, ServiceStatus, UpOptions
from poolhouse.local.compose import build, emulator, engine, variables
from poolhouse.local.compose import file as compose_file
from poolhouse.local.compose import overlay as compose_overlay
from poolhouse.local.compose import plan as compose_plan
from poolhouse.local.compose import project as compose_project
from poolhouse.local.compose import status as compose_status
from poolhouse.local.compose import workers as compose_workers
from poolhouse.local.compose.advice import advise, missing_images
from poolhouse.local.compose.emulator import PubSub
from poolhouse.local.compose.engine import Container, EngineError, docker
from poolhouse.local.compose.overlay import SETUP
from poolhouse.local.errors import NoStack, StackError
from poolhouse.local.processes.identity import ProcessId
from poolhouse.local.state import StackState
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

#: Time for `docker stop`, in seconds: the workers' grace period and a little.
STOP_TIMEOUT_S = 11
#: Time for a restarted or added container to get ready, in seconds.
_READY_S = 60
_POLL_S = 0.4
#: A container that ended with an error this often while we wait will not get well.
_CRASHES = 5


def usable() -> str:
    """Why a stack of containers works here, in a few words. Raises `StackError`, whose text says why it does not."""
    engine.probe()
    pubsub = emulator.choose(None, os.environ)
    wanted = {
        compose_file.storage_image(os.environ),
        compose_file.base_image(os.environ),
        *filter(None, [pubsub.image]),
    }
    problem = missing_images(engine.available(sorted(wanted)))
    if problem is not None:
        raise StackError(problem)
    return "a Docker engine answers and has the images"


class Compose:
    """Runs docker-compose.yml, with free ports and the sample handlers of the e2e."""

    name = "compose"
    clock_moves_all = False

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        #: Ends the project should this process die first; only for an attached stack.
        self._reaper: subprocess.Popen[bytes] | None = None

    def up(self, options: UpOptions, say: Callable[[str], None]) -> Endpoints:
        """Build what has changed, start the containers and follow their health.

        Where a part of the stack is there, because it was killed or its start was, the rest is brought back: under the
        same name, with the same ports.
        """
        engine.probe()
        before = self._known()
        if before is not None and not before.details["overlay"]:
            return self._bring_back(before, options, say)
        pubsub = emulator.choose(options.pubsub or (before.details["pubsub"] if before else None), os.environ)
        self._planned(options, pubsub, before)  # wrong settings are reported before anything is built
        say(pubsub.about())
        # The base image too: the build itself would pull whatever its tag names.
        public = (compose_file.storage_image(os.environ), compose_file.base_image(os.environ), pubsub.image)
        build.pull([name for name in public if name], say)
        say("building the images (nothing to do where nothing changed)")
        build.build([*build.PIPELINE, *([] if pubsub.image else ["pubsub"])])
        # Once more: a port that was free when the build began may be another program's by now.
        found = self._planned(options, pubsub, before)
        self._write_overlay(found, options, say)
        # Should this process be killed, the state is stale with it: the next `up` goes on from there.
        state.write(self._state_dir, replace(found, supervisor=ProcessId.of(os.getpid())))
        if options.attached and self._reaper is None:
            self._reaper = _start_reaper(found.details["project"])
        try:
            services = compose_plan.expected(
                options.workers, pipeline_file=found.details["pipeline_file"], before=before
            )
            found = replace(found, details={**found.details, "services": services})
            self._start(found, options, say)
        except BaseException:  # Ctrl-C too: half a stack is none
            with contextlib.suppress(EngineError):
                self.down()
            raise
        state.write(self._state_dir, replace(found, ready=True))
        return found.endpoints

    def down(self, *, volumes: bool = False) -> bool:
        """Stop and remove the containers.

        Args:
            volumes: remove queues and objects too, of a stack that is down already as well; those of an attached stack
                always go.
        """
        found = self._known()
        if found is None:
            return volumes and self._remove_volumes()
        everything = ["--volumes"] if volumes or found.details["volumes"] else []
        try:
            self._compose(found, "down", "--timeout", str(STOP_TIMEOUT_S), "--remove-orphans", *everything)
        except EngineError as error:
            raise EngineError(f"the containers of {found.details['project']} are still there: {error}") from None
        state.remove(self._state_dir)
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(b"done\n")
            self._reaper.stdin.close()
            self._reaper.wait()
            self._reaper = None
        return True

    def endpoints(self) -> Endpoints:
        """As the state file has them, or as the containers publish them."""
        return self._live().endpoints

    def missing(self) -> str | None:
        """What should run and does not: containers that were stopped, killed or removed, and workers of new queues."""
        found = self._live()
        lacking = compose_status.lacking(self._wanted(found), self._containers(found))
        if found.details["services"] is not None:
            workers = compose_plan.worker_services(found.details["pipeline_file"])
            lacking += tuple(name for name in workers if name not in found.details["services"])
        return f"{', '.join(lacking)} does not run" if lacking else None

    def status(self) -> tuple[ServiceStatus, ...]:
        """Every container but the one that makes the topology and ends; services that lost theirs, too."""
        found = self._live()
        listed = [container for container in self._containers(found) if container.service != SETUP]
        listed.sort(key=lambda container: (compose_status.order(container.service), container.name))
        ready = _healthy(listed)
        exits = engine.last_exits(found.details["project"]) if any(entry.restarts for entry in listed) else {}
        present = {container.service for container in listed}
        return (
            *(
                compose_status.status(
                    container,
                    self._instance(found, container),
                    now=datetime.now(UTC),
                    healthy=container.id in ready,
                    last_exit=exits.get(container.id),
                )
                for container in listed
            ),
            *compose_status.gone(
                name for name, wanted in self._wanted(found).items() if wanted and name not in present
            ),
        )

    def scaling(self) -> tuple[QueueScale, ...]:
        """None: workers do not follow the backlog."""
        return ()

    def log_files(self) -> None:
        """None: the engine keeps the logs."""
        return

    def log_command(self, service: str | None, *, follow: bool, lines: int) -> list[str] | None:
        """`docker compose logs`, of one service or of all; of an instance's service where its name is given."""
        found = self._live()
        chosen = [] if service is None else self._services(found, service)
        follows = ["--follow"] if follow else []
        return ["docker", *self._arguments(found), "logs", "--no-color", "--tail", str(lines), *follows, *chosen]

    def restart(self, service: str, *, kill: bool = False) -> None:
        """Stop a service's containers and start them again; the topology is made anew where Pub/Sub lost it."""
        found = self._live()
        chosen = self._services(found, service)
        if kill:
            self._compose(found, "kill", *chosen)
        else:
            self._compose(found, "stop", "--timeout", str(STOP_TIMEOUT_S), *chosen)
        self._compose(found, "up", "--detach", "--no-build", "--no-recreate", "--no-deps", *chosen)
        wanted = self._wanted(found)
        self._wait_ready(found, {name: wanted.get(name, 1) for name in chosen}, timeout_s=_READY_S)
        if "pubsub" not in chosen:
            return
        if found.details["pubsub"] != emulator.POOLHOUSE:
            # It kept nothing. The workers end, since their subscriptions are gone, and come again.
            self._compose(found, "up", "--no-build", "--no-log-prefix", "--no-deps", SETUP)
            self._compose(found, "restart", "--no-deps", *self._services(found, "worker"))
        # Until all are connected again.
        self._wait_ready(found, wanted, timeout_s=_READY_S)

    def scale(self, service: str, instances: int) -> None:
        """Run that many containers of a worker service; `worker` means that many for each queue."""
        found = self._live()
        workers = compose_file.worker_services(dict.fromkeys(self._names(found)))
        chosen = workers if service == "worker" else (service,)
        if not set(chosen) <= set(workers):
            raise ConfigError(f"{service!r} can't be scaled (these can: worker, {', '.join(workers)})")
        numbers = dict.fromkeys(chosen, instances)
        scales = [part for name in chosen for part in ("--scale", f"{name}={instances}")]
        self._compose(found, "up", "--detach", "--no-build", "--no-recreate", "--no-deps", *scales, *chosen)
        if found.details["services"] is not None:
            changed = {**found.details, "services": {**found.details["services"], **numbers}}
            state.write(self._state_dir, replace(found, details=changed))
        self._wait_ready(found, numbers, timeout_s=_READY_S)

    def _planned(self, options: UpOptions, pubsub: PubSub, before: StackState | None) -> StackState:
        """What is to be: the names, ports and variables of the stack. Raises `ConfigError`, `StackError`."""
        endpoints = compose_plan.endpoints(options, before)
        pipeline_file = options.environment.get("PIPELINE_FILE") or os.environ.get("PIPELINE_FILE")
        return StackState(
            backend=self.name,
            endpoints=endpoints,
            ready=False,
            details={
                "project": before.details["project"]
                if before is not None
                else compose_project.name(self._state_dir, attached=options.attached),
                "volumes": options.attached,
                "environment": compose_plan.environment(endpoints, pubsub),
                "pubsub": pubsub.word,
                "overlay": True,
                "pipeline_file": str(Path(pipeline_file).resolve()) if pipeline_file else None,
                "services": {},
            },
        )

    def _write_overlay(self, found: StackState, options: UpOptions, say: Callable[[str], None]) -> None:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        pipeline_file = found.details["pipeline_file"]
        declared = compose_plan.declared(pipeline_file)
        if pipeline_file is None:
            in_file = compose_file.worker_services(compose_file.services(os.environ))
            behind = [queue.name for queue in declared.queues if compose_workers.service(queue.name) not in in_file]
            if behind:
                say(
                    f"docker-compose.yml has no worker for {', '.join(behind)}: this stack has one all the same; "
                    f"{compose_workers.RENEW} renews the file, for docker compose up"
                )
        for line in cloud_only.notes(declared):
            say(line)
        own = variables.for_containers({**os.environ, **options.environment})
        document = compose_overlay.overlay(
            declared=declared,
            variables=own,
            traces=compose_overlay.make_traces_dir(self._state_dir) if own.get("TRACES_EXPORTER") == "file" else None,
            pipeline=compose_overlay.copy(self._state_dir, pipeline_file) if pipeline_file else None,
            attached=options.attached,
            most_cpus=engine.most_cpus(),
        )
        compose_overlay.write(self._state_dir, document)

    def _start(self, found: StackState, options: UpOptions, say: Callable[[str], None]) -> None:
        expected: Mapping[str, int] = found.details["services"]
        scales = [
            part for name in compose_file.worker_services(expected) for part in ("--scale", f"{name}={expected[name]}")
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
                self._follow(process, found, deadline_s=deadline_s)
            except BaseException:
                process.kill()
                raise
        self._wait_ready(found, expected, timeout_s=deadline_s - time.monotonic(), say=say)

    def _bring_back(self, found: StackState, options: UpOptions, say: Callable[[str], None]) -> Endpoints:
        """Start again what ended of a stack that `docker compose up` had started."""
        self._compose(found, "up", "--detach", "--no-build")
        self._wait_ready(found, self._wanted(found), timeout_s=options.timeout_s, say=say)
        return found.endpoints

    def _follow(self, process: subprocess.Popen[bytes], found: StackState, *, deadline_s: float) -> None:
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
        self,
        found: StackState,
        wanted: Mapping[str, int],
        *,
        timeout_s: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Wait until so many containers of each service are healthy. Raises `StackError`."""
        deadline_s = time.monotonic() + timeout_s
        ready: set[str] = set()
        while True:
            listed = [container for container in self._containers(found) if container.service in wanted]
            for container_id in _healthy([container for container in listed if container.id not in ready]):
                ready.add(container_id)
                (container,) = (container for container in listed if container.id == container_id)
                say(f"  {self._instance(found, container)} is ready")
            counts = Counter(entry.service for entry in listed if entry.id in ready and entry.state == "running")
            if all(counts[name] >= number for name, number in wanted.items()):
                return
            if any(container.restarts >= _CRASHES for container in listed):
                raise StackError(self._failed(found) or f"containers end as soon as they start{self._unready(found)}")
            if time.monotonic() > deadline_s:
                raise StackError(f"not all containers are healthy after {timeout_s:.0f} s{self._unready(found)}")
            time.sleep(_POLL_S)

    def _failed(self, found: StackState) -> str | None:
        """What a container that ended with an error wrote last; None where none did, or not a word."""
        with contextlib.suppress(EngineError):
            for container in self._containers(found):
                if container.exit_code != 0 or container.restarts:
                    # One that could not start at all, its port being taken for instance, has written nothing.
                    written = engine.log_tail(container.id)
                    if written:
                        return f"{self._instance(found, container)} ended with an error:\n{written}"
        return None

    def _unready(self, found: StackState) -> str:
        with contextlib.suppress(EngineError):
            waiting = [
                f"{container.service} is {container.health or container.state}"
                for container in self._containers(found)
                if not container.ready and container.service != SETUP
            ]
            return f": {', '.join(waiting)}. More in the logs: ./invoke logs"
        return ""

    def _containers(self, found: StackState) -> tuple[Container, ...]:
        return engine.containers(found.details["project"])

    def _instance(self, found: StackState, container: Container) -> str:
        return container.name.removeprefix(f"{found.details['project']}-")

    def _wanted(self, found: StackState) -> dict[str, int]:
        """How many containers each service should have."""
        recorded: dict[str, int] | None = found.details["services"]
        if recorded is not None:
            return recorded
        return dict(Counter(entry.service for entry in self._containers(found) if entry.service != SETUP))

    def _names(self, found: StackState) -> tuple[str, ...]:
        """The services of the stack, those without a container too."""
        present = (container.service for container in self._containers(found) if container.service != SETUP)
        return tuple(dict.fromkeys([*self._wanted(found), *present]))

    def _services(self, found: StackState, service: str) -> tuple[str, ...]:
        """The Compose services that a common word, a service's own name or an instance's stands for."""
        names = self._names(found)
        for exact in (service, re.sub(r"-\d+$", "", service)):
            if exact in names or exact == SETUP:
                return (exact,)
            chosen = tuple(name for name in names if compose_status.word(name) == exact)
            if chosen:
                return chosen
        words = dict.fromkeys([*map(compose_status.word, names), *names])
        raise ConfigError(f"there is no service {service!r} (there are: {', '.join(words)})")

    def _compose(self, found: StackState, *arguments: str) -> str:
        return docker(*self._arguments(found), *arguments, environment=found.details["environment"])

    def _arguments(self, found: StackState) -> Iterator[str]:
        overlay = self._state_dir / compose_project.OVERLAY
        yield from ("compose", "--project-name", found.details["project"])
        for file in (*compose_file.files(), *([overlay] if found.details["overlay"] and overlay.exists() else [])):
            yield from ("--file", str(file))

    def _remove_volumes(self) -> bool:
        """Remove what a stack that is down left for the next one; False where there is nothing, or no engine."""
        project = compose_project.name(self._state_dir, attached=False)
        try:
            names = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={project}").split()
            if names:
                docker("volume", "rm", *names)
        except EngineError:
            return False
        return bool(names)

    def _known(self) -> StackState | None:
        """The stack, whole or not: as it was written down, or as the engine has it."""
        found = state.read(self._state_dir)
        if found is None:
            return compose_project.unrecorded(self._state_dir)
        return found if found.backend == self.name else None

    def _live(self) -> StackState:
        found = self._known()
        if found is None:
            raise NoStack
        return found


def _healthy(containers: list[Container]) -> set[str]:
    """The ids of those whose health check passes now."""
    if not containers:
        return set()
    with ThreadPoolExecutor(len(containers)) as pool:
        passed = pool.map(engine.healthy, containers)
        return {container.id for container, well in zip(containers, passed, strict=True) if well}


def _start_reaper(project: str) -> subprocess.Popen[bytes]:
    """A process that removes the project when this one is gone, however it went: it sees the pipe close."""
    script = (
        "import subprocess, sys\n"
        "if sys.stdin.readline() != 'done\\n':\n"
        "    subprocess.run(['docker', 'compose', '-p', sys.argv[1], 'down', '-v', '-t', '2'], check=False)\n"
    )
    return subprocess.Popen(
        (sys.executable, "-I", "-S", "-c", script, project),
        cwd="/",  # a Compose file where the test runs is another project's
        env=engine.variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
