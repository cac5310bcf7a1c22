"""What a backend of the local stack is: the same words for processes and for containers.

`poolhouse.local.backends` is the only place that knows which backends there are; commands, the e2e and the pytest
plugin work with this protocol and the endpoints.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from poolhouse.project import ROOT

#: The services of a stack, in the order in which they start. `worker` may have several instances; `scheduler` is there
#: only where pipeline.toml declares schedules.
SERVICES = ("pubsub", "storage", "api", "worker", "scheduler")


def default_state_dir() -> Path:
    """Where the stack of this checkout keeps its state; POOLHOUSE_STATE_DIR names another place."""
    return Path(os.environ.get("POOLHOUSE_STATE_DIR") or ROOT / ".poolhouse").resolve()


def traces_dir(state_dir: Path, backend: str) -> Path:
    """Where the processes of a stack keep their spans, while TRACES_EXPORTER is `file`.

    Args:
        state_dir: of the stack.
        backend: its name. Containers run as another user, whose files the embedded stack could not append to.
    """
    return state_dir / "traces" / backend


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where a stack can be reached from this machine: all that a client of it needs."""

    api_url: str
    #: HOST:PORT of Pub/Sub's gRPC and REST.
    pubsub_host: str
    #: Base URL of Cloud Storage.
    storage_url: str
    project: str
    bucket: str
    #: The console; None where the stack has none of its own, and `invoke console` runs one.
    console_url: str | None = None

    def environment(self) -> dict[str, str]:
        """The variables under which Google's clients, and `poolhouse.pipeline.config.settings`, use this stack."""
        return {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "BUCKET_NAME": self.bucket,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "STORAGE_EMULATOR_HOST": self.storage_url,
        }


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """How to bring a stack up."""

    #: The API's port; None: 8080 if it is free, else the same at each `up` of this checkout, if it is free; 0: any.
    api_port: int | None = None
    #: The emulator's port; None: the same at each `up`, if it is free; 0: any.
    pubsub_port: int | None = None
    #: The storage server's port; None and 0: as the emulator's.
    storage_port: int | None = None
    #: The console's port; None: 8081 if it is free, else the same at each `up`, if it is free; 0: any.
    console_port: int | None = None
    #: How many worker processes.
    workers: int = 1
    #: Longest time until everything is ready, in seconds.
    timeout_s: float = 60
    #: The stack ends with this process, however that ends.
    attached: bool = False
    #: Variables for the API and the workers, on top of this process's own environment.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Whether saved code takes the place of the running one.
    reload: bool = False
    #: Whether queues and objects outlive the stack, for the next one that is brought up with this.
    keep: bool = False
    #: Whether storage takes changes at the rates of Cloud Storage only.
    gcs_limits: bool = False
    #: Whether each queue has workers of its own, whose number follows its backlog.
    autoscale: bool = False
    #: How long fewer workers must be enough before some are stopped, in seconds; None: as on Google Cloud.
    scale_down_after_s: float | None = None
    #: Which Pub/Sub emulator a stack of containers has, `poolhouse` or `google`; None: as the settings say, else ours.
    pubsub: str | None = None


class ServiceState(StrEnum):
    """How an instance of a service is doing."""

    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"  # it died; it is started again in a moment
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """One instance of a service."""

    #: One of `SERVICES`; or `console`, once it has been opened.
    service: str
    #: The instance's name: `worker-2`; the service's where there is one instance at most.
    instance: str
    state: ServiceState
    #: Process id on this machine; None where there is none, or where it is not ours to know.
    pid: int | None = None
    #: Where it listens.
    address: str | None = None
    #: Seconds since it last started.
    uptime_s: float | None = None
    #: How often it was started again after it died.
    restarts: int = 0
    #: How it last ended.
    last_exit: str | None = None
    #: What a person should know of it beyond that.
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class QueueScale:
    """The workers of a queue, where their number follows its backlog."""

    queue: str
    #: Messages not finished when last seen; None where that is not known.
    backlog: int | None
    #: Workers that are ready.
    running: int
    #: Workers that the backlog of the last while asks for.
    wanted: int
    #: `min_instances` and `max_instances` of pipeline.toml.
    least: int
    most: int


class Backend(Protocol):
    """Starts and stops a stack. Every method may raise `poolhouse.local.errors.StackError`, most of them `NoStack`."""

    @property
    def name(self) -> str:
        """The word for `--backend`."""

    @property
    def clock_moves_all(self) -> bool:
        """Whether API, workers and scheduler follow the clock of the Pub/Sub emulator when it is moved."""

    def up(self, options: UpOptions, say: Callable[[str], None]) -> Endpoints:
        """Start a stack and return once all of it is ready; leave nothing behind where that fails.

        Args:
            say: takes a line about what goes on, for people.
        """

    def down(self, *, volumes: bool = False) -> bool:
        """Stop the stack in order and wait until nothing of it is left; False if none was up.

        Args:
            volumes: delete too what the backend keeps for the next stack.
        """

    def endpoints(self) -> Endpoints:
        """Where the stack that is up can be reached."""

    def missing(self) -> str | None:
        """What of the stack that is up should run and does not, for people; None where all does."""

    def status(self) -> tuple[ServiceStatus, ...]:
        """Every instance of every service, in the order of `SERVICES`."""

    def scaling(self) -> tuple[QueueScale, ...]:
        """The workers of every queue; empty for a stack whose workers do not follow the backlog."""

    def log_files(self) -> Mapping[str, Path] | None:
        """The log file of every instance, of the last stack where none is up; None: `log_command` shows them."""

    def log_command(self, service: str | None, *, follow: bool, lines: int) -> list[str] | None:
        """The command that shows the logs, where there are no files."""

    def restart(self, service: str, *, kill: bool = False) -> None:
        """Stop the instances of a service and start them again; returns once they are ready.

        Args:
            kill: end them with SIGKILL, as a crash would, instead of SIGTERM.
        """

    def scale(self, service: str, instances: int) -> None:
        """Run that many instances of a service (`worker` alone can have other than one)."""
