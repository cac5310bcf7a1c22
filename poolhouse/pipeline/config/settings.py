"""Settings from the environment: the only switch between a laptop and Google Cloud.

`PUBSUB_EMULATOR_HOST` and `STORAGE_EMULATOR_HOST` are read by Google's client libraries themselves; nothing here,
in the API or in the worker asks whether it runs locally.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.api_access import ApiAccess
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.numbers import Number, Whole
from poolhouse.pipeline.timing.clock import ShiftedClock, now
from poolhouse.pipeline.web_guard import WebGuard


class Settings(BaseSettings):
    """What the environment says. The field's name in upper case is the variable's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    #: Project that topics and subscriptions live in.
    google_cloud_project: str = Field(min_length=1)
    #: Bucket for files, results and records.
    bucket_name: str = Field(min_length=3, max_length=222)
    #: The declaration of queues and schedules.
    pipeline_file: str = "pipeline.toml"
    #: Which stage of it this is; empty: the declaration as it stands.
    pipeline_stage: str = ""
    #: Origin under which clients reach the bucket, where it is another than the one seen from here: behind a private
    #: endpoint or an emulator in a container network. Upload addresses that are handed out begin with it.
    storage_public_url: str | None = Field(default=None, pattern=r"^https?://[^/?#]+$")
    #: Modules that register handlers, separated by commas, in the place of those that pipeline.toml names.
    task_handlers: Annotated[tuple[str, ...], NoDecode] = ()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: `json` for log collectors, `console` for people.
    log_format: Literal["json", "console"] = "json"
    #: Where backlog figures come from: `emulator` asks Poolhouse's emulator, `monitoring` Cloud Monitoring.
    backlog_source: Literal["none", "emulator", "monitoring"] = "none"
    #: Names that clients call the API by, separated by commas: a host, `*.` and a domain, or `local` for IP addresses
    #: and for names outside the public DNS. Unset where a load balancer in front lets no other name through.
    allowed_hosts: str | None = None
    #: Origins of pages of other sites that may call it, such as `https://app.example`, separated by commas.
    allowed_origins: str = ""
    #: Who may call the API, as a deploy writes it (JSON of `ApiAccess`); unset: whoever reaches it.
    api_access: Annotated[ApiAccess | None, NoDecode] = None
    #: Whether answers about tasks have the tracebacks of errors and the names of workers, which tell of the inside: for
    #: a developer's own stack. The log has them all the same.
    show_tracebacks: bool = False
    #: Longest time a submit call waits for Pub/Sub, in seconds; then it answers 503.
    publish_timeout_s: Number = Field(default=5, gt=0, le=600)
    #: Longest time one storage call may take, retries included, in seconds.
    storage_timeout_s: Number = Field(default=5, gt=0, le=600)
    #: Longest time that a starting worker waits for its bucket and subscriptions to be made, in seconds: for a stack
    #: whose parts all start at once.
    wait_for_topology_s: Number = Field(default=0, ge=0, le=3600)
    #: How long a worker may be stuck before it ends itself, in seconds, so that another is started; 0: for ever. A
    #: handler that runs long is no sign of it.
    worker_watchdog_s: Number = Field(default=0, ge=0, le=3600)
    #: The port of a worker's `GET /health`, for probes; 0: none is opened. Each worker of a machine needs its own.
    worker_health_port: Whole = Field(default=0, ge=0, le=65_535)
    #: The address of that port; in a container that is probed from outside, 0.0.0.0.
    worker_health_host: str = "127.0.0.1"
    #: Time that running tasks get at SIGTERM, in seconds; Cloud Run kills after 10.
    worker_grace_s: Number = Field(default=8, ge=0, le=3600)

    #: Where metrics go: `prometheus` serves them at METRICS_HOST:METRICS_PORT, `otlp` sends them where OpenTelemetry's
    #: variables OTEL_EXPORTER_OTLP_* say, `global` gives them to the provider that the process has set.
    metrics_exporter: Literal["none", "prometheus", "otlp", "global"] = "none"
    #: The address that metrics are served at; in a container that others scrape, 0.0.0.0.
    metrics_host: str = "127.0.0.1"
    #: The port that metrics are served at; of several processes on a machine each takes the next one that is free.
    metrics_port: Whole = Field(default=9464, ge=1, le=65_535)

    #: Where spans go: `file` appends them to files in TRACES_DIR, where the console of a local stack finds them; `otlp`
    #: sends them where OpenTelemetry's variables OTEL_EXPORTER_OTLP_* say; `cloud_trace` sends them to Cloud Trace, as
    #: the identity that the process runs with.
    traces_exporter: Literal["none", "file", "otlp", "cloud_trace"] = "none"
    #: The folder of these files; `./invoke up` sets it.
    traces_dir: str = ""

    #: A file with the seconds by which this deployment's time is ahead of the machine's; empty: by none. For local
    #: stacks, whose emulator writes it.
    clock_file: str = ""

    @field_validator("task_handlers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return topology.module_names(value) if isinstance(value, str) else value

    @field_validator("api_access", mode="before")
    @classmethod
    def _access(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return ApiAccess.model_validate_json(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "JSON"
            raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from None

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: str | None) -> str | None:
        WebGuard.of(hosts=value, origins=None)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        WebGuard.of(hosts=None, origins=value)
        return value

    @cached_property
    def web_guard(self) -> WebGuard:
        """The rule that keeps pages of other sites out."""
        return WebGuard.of(hosts=self.allowed_hosts, origins=self.allowed_origins)

    @field_validator("bucket_name")
    @classmethod
    def _bucket(cls, value: str) -> str:
        # Cloud Storage, Bucket names.
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*[a-z0-9]", value):
            raise ValueError(
                f"{value!r} is no bucket name: lower-case letters, digits, dashes, underscores and dots, "
                "a letter or digit first and last"
            )
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @cached_property
    def clock(self) -> Callable[[], datetime]:
        """The time as this deployment sees it."""
        return ShiftedClock(self.clock_file) if self.clock_file else now

    @cached_property
    def topology(self) -> topology.Topology:
        """`pipeline.toml`, read once. Raises `ConfigError`."""
        return topology.load(self.pipeline_file, stage=self.pipeline_stage)

    @property
    def handlers(self) -> tuple[str, ...]:
        """The modules that register handlers. Raises `ConfigError`."""
        return self.task_handlers or self.topology.handlers


def load(**known: Any) -> Settings:
    """Read the environment.

    Args:
        known: fields that are decided already, whatever the environment says.

    Raises:
        ConfigError: a variable is missing or wrong; the text names each one.
    """
    try:
        return Settings(**known)
    except ValidationError as error:
        lines = [
            f"{str(problem['loc'][0]).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        ]
        raise ConfigError("the environment is not complete:\n  " + "\n  ".join(lines)) from None
