"""The services of the embedded stack: what is run, with which environment, and when each is ready."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from poolhouse.local.backend import Endpoints
from poolhouse.local.processes import environment, ports
from poolhouse.local.storage import fake_gcs, object_events
from poolhouse.pipeline import numbers
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.web_guard import LOCAL, WebGuard
from poolhouse.project import ROOT

#: Handlers that the e2e needs; they are loaded beside the project's own, and only here.
SAMPLE_HANDLERS = "poolhouse.worker.samples"
#: Time that tasks get at a stop, in seconds, unless WORKER_GRACE_S says otherwise: as much as on Cloud Run.
WORKER_GRACE_S = 8.0
#: Time that tasks in hand get to end on old code, in seconds, unless WORKER_GRACE_S says otherwise.
RELOAD_GRACE_S = 600.0
#: Beyond that, what a process may take to end before it is killed, in seconds.
STOP_MARGIN_S = 3.0
#: The longest grace period that `poolhouse.pipeline.config.settings` takes, in seconds.
_LONGEST_GRACE_S = 3600
_POLL_S = 0.02


class Readiness(Protocol):
    """When an instance counts as ready. Waits without end: the caller has the deadline, and sees an instance die."""

    async def wait(self, log: Path, offset: int, *, pid: int) -> None:
        """Return once it is ready.

        Args:
            log: where the instance writes.
            offset: where in the log this run of it begins, in bytes.
            pid: the instance's process.
        """


@dataclass(frozen=True)
class HttpReady:
    """Ready when a GET of the address gets 200."""

    port: int
    path: str
    #: Whether the process binds the port itself: what answers there may be another program then.
    binds: bool = False

    async def wait(self, log: Path, offset: int, *, pid: int) -> None:
        # The connection is left for us to close: the other side's closed ones keep the port from being bound anew.
        request = f"GET {self.path} HTTP/1.1\r\nHost: {ports.HOST}:{self.port}\r\n\r\n".encode()
        while True:
            try:
                reader, writer = await asyncio.open_connection(ports.HOST, self.port)
                try:
                    writer.write(request)
                    status = await asyncio.wait_for(reader.readline(), 5)
                finally:
                    writer.close()
                if status.split(b" ", 2)[1:2] == [b"200"] and (not self.binds or ports.listens(pid, self.port)):
                    return
            except (OSError, TimeoutError):
                pass
            await asyncio.sleep(_POLL_S)


@dataclass(frozen=True)
class LogReady:
    """Ready when a text is in the log."""

    text: str

    async def wait(self, log: Path, offset: int, *, pid: int) -> None:
        wanted = self.text.encode()
        while True:
            with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
                file.seek(offset)
                if wanted in file.read():
                    return
            await asyncio.sleep(_POLL_S)


@dataclass(frozen=True)
class Both:
    """Ready when it is in two ways."""

    first: Readiness
    second: Readiness

    async def wait(self, log: Path, offset: int, *, pid: int) -> None:
        await self.first.wait(log, offset, pid=pid)
        await self.second.wait(log, offset, pid=pid)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A service that is a process."""

    service: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    readiness: Readiness
    address: str | None = None
    #: Time between SIGTERM and SIGKILL, in seconds.
    stop_timeout_s: float = STOP_MARGIN_S
    #: Whether it waits for the word `go` on its standard input (`poolhouse.local.embedded.preload`).
    gated: bool = False
    #: Time between the first SIGTERM and a second one, in seconds: where a grace period has to be cut short.
    hurry_after_s: float | None = None
    #: Open files that it inherits, by number.
    descriptors: tuple[int, ...] = ()


def grace_s(own: Mapping[str, str]) -> float:
    """Return the time that tasks get at a stop, in seconds. Raises `ConfigError` where WORKER_GRACE_S is no time."""
    text = own.get("WORKER_GRACE_S") or str(WORKER_GRACE_S)
    try:
        seconds = numbers.number(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_GRACE_S:
        raise ConfigError(f"WORKER_GRACE_S={text!r}: a number of seconds from 0 to {_LONGEST_GRACE_S}")
    return seconds


def pipeline_file(own: Mapping[str, str]) -> str:
    """The declaration of a stack."""
    return own.get("PIPELINE_FILE") or str(ROOT / "pipeline.toml")


def variables(endpoints: Endpoints, own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the API and the workers.

    Args:
        own: as `environment.child` gives it: what it sets for Poolhouse holds, but for the addresses and names of the
            stack, and for a LOG_LEVEL above INFO: the lines that report a process as ready are of that level.
    """
    file = pipeline_file(own)
    return {
        **own,
        "BACKLOG_SOURCE": "emulator",
        "LOG_LEVEL": "DEBUG" if own.get("LOG_LEVEL", "").upper() == "DEBUG" else "INFO",
        "PIPELINE_FILE": file,
        "TASK_HANDLERS": handlers(own, topology.load(file)),
        # Web pages can reach this machine's ports; what is deployed is reached by its own name alone.
        "ALLOWED_HOSTS": own.get("ALLOWED_HOSTS") or LOCAL,
        "SHOW_TRACEBACKS": own.get("SHOW_TRACEBACKS") or "1",
        "PYTHONUNBUFFERED": "1",
        **endpoints.environment(),
    }


def handlers(own: Mapping[str, str], declared: topology.Topology) -> str:
    """The modules that a local stack loads, as TASK_HANDLERS has them: the sample handlers beside the project's.

    Args:
        own: the variables of this shell; TASK_HANDLERS is among them where it is set.
        declared: names the project's modules where it is not.
    """
    return ",".join(dict.fromkeys((*declared.handlers_under(own), SAMPLE_HANDLERS)))


def specs(
    endpoints: Endpoints,
    *,
    declared: Topology,
    data: Path,
    listener: int,
    own: Mapping[str, str],
    gcs_limits: bool = False,
) -> dict[str, Spec]:
    """The processes of a stack, by service.

    Args:
        endpoints: those of the stack.
        declared: pipeline.toml.
        data: a folder for objects.
        listener: the API's listening socket, by number: no other program can get its port, and no call is refused
            while the API restarts. Of an old and a new API each takes connections from it, side by side.
        own: as for `variables`.
    """
    inner = fake_gcs.hidden_address()
    ours = {
        **variables(endpoints, own),
        # Our own processes go past the front, which costs each call a tenth of a millisecond.
        "STORAGE_EMULATOR_HOST": f"http://{inner}",
        "STORAGE_PUBLIC_URL": own.get("STORAGE_PUBLIC_URL") or endpoints.storage_url,
    }
    ours = environment.without_proxies(ours, inner.rpartition(":")[0])
    try:
        WebGuard.from_environment(ours)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    api_port, storage_port = _port(endpoints.api_url), _port(endpoints.storage_url)
    launch = (sys.executable, "-m", "poolhouse.local.embedded.preload")
    events = object_events.flags(declared, project=endpoints.project)
    return {
        "storage": Spec(
            service="storage",
            command=fake_gcs.command(port=storage_port, root=data, inner=inner, gcs_limits=gcs_limits, more=events),
            environment=ours,
            readiness=HttpReady(storage_port, "/_internal/healthcheck", binds=True),
            address=endpoints.storage_url,
        ),
        "api": Spec(
            service="api",
            command=(*launch, "poolhouse.api", "--fd", str(listener)),
            environment=ours,
            readiness=HttpReady(api_port, "/ready"),
            address=endpoints.api_url,
            stop_timeout_s=WORKER_GRACE_S + STOP_MARGIN_S,
            gated=True,
            descriptors=(listener,),
        ),
        "worker": Spec(
            service="worker",
            command=(*launch, "poolhouse.worker", "run", "--dead-letters"),
            environment=ours,
            readiness=LogReady("worker ready"),
            stop_timeout_s=grace_s(own) + STOP_MARGIN_S,
            gated=True,
        ),
        "scheduler": Spec(
            service="scheduler",
            command=(*launch, "poolhouse.worker", "schedules"),
            environment=ours,
            readiness=LogReady("scheduler ready"),
            gated=True,
        ),
    }


def console(endpoints: Endpoints, *, state_dir: Path, listener: int, own: Mapping[str, str]) -> Spec:
    """The console of a stack; it is no part of what must be ready.

    Args:
        endpoints: those of the stack, with the console's.
        state_dir: where it finds the stack.
        listener: its listening socket, by number.
        own: as for `variables`.
    """
    assert endpoints.console_url is not None
    return Spec(
        service="console",
        command=(sys.executable, "-m", "poolhouse.local.console", "--state-dir", str(state_dir), "--fd", str(listener)),
        environment=variables(endpoints, own),
        readiness=HttpReady(_port(endpoints.console_url), "/health"),
        address=endpoints.console_url,
        descriptors=(listener,),
    )


def reloading(made: Mapping[str, Spec], *, own: Mapping[str, str]) -> dict[str, Spec]:
    """The same processes for a stack whose code is replaced while it runs.

    Args:
        made: from `specs`.
        own: as for `variables`.
    """
    launch = (sys.executable, "-m", "poolhouse.local.embedded.preload", "--libraries")
    # Python takes a cached file for current by whole seconds and its size, so that of two saves in one second it may
    # miss the later one. What is read during reloads is therefore not cached.
    fresh = {"PYTHONDONTWRITEBYTECODE": "1"}
    api, worker = made["api"], made["worker"]
    replaced_api = replace(
        api,
        command=(*launch, *api.command[3:]),
        environment={**api.environment, **fresh},
        # The address alone is answered by the old API too.
        readiness=Both(LogReady("Application startup complete"), api.readiness),
    )
    replaced_worker = replace(
        worker, command=(*launch, *worker.command[3:]), environment={**worker.environment, **fresh}
    )
    if not own.get("WORKER_GRACE_S"):
        # Tasks in hand may end on the old code; when the stack ends they get the usual time.
        replaced_worker = replace(
            replaced_worker,
            environment={**replaced_worker.environment, "WORKER_GRACE_S": str(RELOAD_GRACE_S)},
            hurry_after_s=WORKER_GRACE_S / 2,
        )
    scheduler = replace(made["scheduler"], environment={**made["scheduler"].environment, **fresh})
    return {**made, "api": replaced_api, "worker": replaced_worker, "scheduler": scheduler}


def by_queue(worker: Spec, queues: Iterable[str]) -> dict[str, Spec]:
    """The work of one worker split up as on Google Cloud: one for each queue, and one for the dead letters.

    Args:
        worker: from `specs` or `reloading`.
        queues: names of the queues.

    Returns:
        By what the names of the instances begin with.
    """
    launch = worker.command[: worker.command.index("run")]
    return {
        **{f"worker-{queue}": replace(worker, command=(*launch, "run", "--queue", queue)) for queue in queues},
        "dead-letters": replace(worker, command=(*launch, "dead-letters")),
    }


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
