"""Settings from the environment: the only switch between a laptop and Google Cloud.

`PUBSUB_EMULATOR_HOST` and `STORAGE_EMULATOR_HOST` are read by Google's client libraries themselves; nothing here,
in the API or in the worker asks whether it runs locally.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from poolhouse.pipeline import topology
from poolhouse.pipeline.errors import ConfigError


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
    #: Modules that register handlers, separated by commas.
    task_handlers: Annotated[tuple[str, ...], NoDecode] = ("worker.handlers",)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: `json` for log collectors, `console` for people.
    log_format: Literal["json", "console"] = "json"
    #: Where backlog figures come from: `emulator` asks Poolhouse's emulator, `monitoring` Cloud Monitoring.
    backlog_source: Literal["none", "emulator", "monitoring"] = "none"
    #: Longest time a submit call waits for Pub/Sub, in seconds; then it answers 503.
    publish_timeout_s: float = Field(default=5, gt=0, le=600)
    #: Longest time one storage call may take, retries included, in seconds.
    storage_timeout_s: float = Field(default=5, gt=0, le=600)
    #: Longest time that a starting worker waits for its bucket and subscriptions to be made, in seconds: for a stack
    #: whose parts all start at once.
    wait_for_topology_s: float = Field(default=0, ge=0, le=3600)
    #: Time that running tasks get at SIGTERM, in seconds; Cloud Run kills after 10.
    worker_grace_s: float = Field(default=8, ge=0, le=3600)

    @field_validator("task_handlers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @cached_property
    def topology(self) -> topology.Topology:
        """`pipeline.toml`, read once. Raises `ConfigError`."""
        return topology.load(self.pipeline_file, stage=self.pipeline_stage)


def load() -> Settings:
    """Read the environment.

    Raises:
        ConfigError: a variable is missing or wrong; the text names each one.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError("the environment is not complete:\n  " + "\n  ".join(lines)) from None
